"""Floor 3.2, loads no library: which bytes a configuration means: files, their digests, and the request made of both."""
