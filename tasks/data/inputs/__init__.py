"""Floor 3.1, loads no library: which bytes a configuration means: files, their digests, and the request made of both."""
