"""A version and its ancestors as a graph, in layers from the version down to files; drawn as inline SVG."""

from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement

from flows.ancestry import KINDS, STATES, shown
from tasks.audit.ancestors import Ancestor
from tasks.audit.ancestry import Ancestry

BOX_WIDTH, BOX_HEIGHT, GAP, LAYER_GAP, MARGIN = 236, 88, 22, 54, 6
CHARACTERS = 29
"""Of a line in a box."""
SHOWN_FILES = 4
"""Files of one data set that get a box; the rest shares one."""
SAID_BY_KIND = ("runs", "finetunes", "datasets", "bases", "02-pretrain", "finetune")
"""Folders that tell the kind, which stands above the name."""
COLUMNS = 5
"""Boxes beside each other; what is more in a layer goes below."""


@dataclass
class Node:
    identity: str
    """Of its table on the page, where it has one."""
    kind: str
    title: str
    lines: tuple[str, ...]
    broken: bool = False
    """Whether what it stands for is gone, or is not what was meant."""
    ancestor: Ancestor | None = None
    parents: list[str] = field(default_factory=list)
    """What it was made from."""
    target: str = ""
    """Identity of the table that its box leads to; empty means its own."""


def nodes_of(ancestry: Ancestry) -> list[Node]:
    """Every thing once, the version first, however many ways lead to it."""
    version = ancestry.version
    aliases = ", ".join(version.aliases) or ("deleted in MLflow" if version.in_mlflow == "deleted" else "no alias")
    score = next((f"{key} {shown(value)}" for key, value in version.score.items()), version.label)
    nodes: dict[str, Node] = {}
    top = Node("version", "version", f"{version.model} v{version.version}", (aliases, score), version.in_mlflow == "deleted")
    nodes["version"] = top

    def visit(one: Ancestor, child: Node) -> None:
        identity = f"d-{one.digest[:16]}"
        if identity not in child.parents:
            child.parents.append(identity)
        if identity in nodes:
            return
        node = nodes[identity] = Node(identity, one.kind, short_name(one.name), (), one.stated in ("changed", "gone"), one)
        node.lines = (key_number(one), ("" if node.broken else "✓ ") + STATES[one.stated].partition(" by ")[0])
        for file in files_of(one, identity):
            nodes.setdefault(file.identity, file)
            node.parents.append(file.identity)
        for parent in one.made_from:
            visit(parent, node)

    visit(ancestry.made_by, top)
    return list(nodes.values())


def files_of(one: Ancestor, identity: str) -> list[Node]:
    """Its source files; one that several were made from is one box."""
    found = []
    for file in one.sources[:SHOWN_FILES]:
        known = file.sha256 or file.version
        key = f"f-{known}" if known else f"{identity}-{file.name}"
        size = f"{file.size_bytes:,} bytes" if file.size_bytes is not None else "size unknown"
        digest = f"SHA-256 {file.sha256[:12]}" if file.sha256 else (file.version or "")[:CHARACTERS]
        found.append(Node(key, "file", file.name, (size, digest), target=identity))
    if len(one.sources) > SHOWN_FILES:
        number = len(one.sources) - SHOWN_FILES
        found.append(Node(f"{identity}-more", "file", f"{number:,} more files", ("in the table",), target=identity))
    return found


def short_name(name: str) -> str:
    """`demo-topic/4f2e` for `finetunes/demo-topic/4f2e/finetune`: what tells it from others of its kind."""
    parts = [part for part in name.split("/") if part not in SAID_BY_KIND]
    return "/".join(parts[-2:]) or name


def key_number(one: Ancestor) -> str:
    """What a person looks for first."""
    numbers = one.numbers
    if one.kind == "prepare" and numbers.get("kept_documents") is not None:
        return f"{shown(numbers['kept_documents'])} documents kept"
    if one.kind == "examples" and numbers.get("train_examples") is not None:
        return f"{shown(numbers['train_examples'])} + {shown(numbers.get('test_examples'))} examples"
    if one.kind == "base":
        return f"from {one.taken_from}" if one.taken_from else ""
    if one.verdict:
        return f"{one.verdict}, step {shown(numbers.get('step'))}"
    return f"step {shown(numbers['step'])}" if numbers.get("step") is not None else ""


def layers_of(nodes: list[Node]) -> list[list[Node]]:
    """By the longest way from the version; within a layer near what was made of them."""
    level = dict.fromkeys((node.identity for node in nodes), 0)
    known = {node.identity: node for node in nodes}
    pending = ["version"]
    while pending:
        node = known[pending.pop()]
        for parent in node.parents:
            if level[parent] < level[node.identity] + 1:
                level[parent] = level[node.identity] + 1
                pending.append(parent)
    grouped: dict[int, list[Node]] = {}
    for node in nodes:
        grouped.setdefault(level[node.identity], []).append(node)
    layers: list[list[Node]] = []
    place: dict[str, float] = {}
    for _, layer in sorted(grouped.items()):
        layer.sort(key=lambda node: mean_place(node, nodes, place))
        place |= {node.identity: (number + 0.5) / len(layer) for number, node in enumerate(layer)}
        layers += [layer[start : start + COLUMNS] for start in range(0, len(layer), COLUMNS)]
    return layers


def mean_place(node: Node, nodes: list[Node], place: dict[str, float]) -> float:
    """Of what was made from it, 0 left to 1 right."""
    below = [place[one.identity] for one in nodes if node.identity in one.parents and one.identity in place]
    return sum(below) / len(below) if below else 0.5


def graph(nodes: list[Node]) -> Element:
    layers = layers_of(nodes)
    width = max(len(layer) for layer in layers) * (BOX_WIDTH + GAP) - GAP + 2 * MARGIN
    height = len(layers) * (BOX_HEIGHT + LAYER_GAP) - LAYER_GAP + 2 * MARGIN
    corner: dict[str, tuple[float, float]] = {}
    for number, layer in enumerate(layers):
        left = (width - len(layer) * (BOX_WIDTH + GAP) + GAP) / 2
        for place, node in enumerate(layer):
            corner[node.identity] = (left + place * (BOX_WIDTH + GAP), MARGIN + number * (BOX_HEIGHT + LAYER_GAP))
    size = {"width": f"{width:g}", "height": f"{height:g}", "viewBox": f"0 0 {width:g} {height:g}"}
    svg = Element("svg", size | {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "font-family": "inherit"})
    SubElement(svg, "title").text = "What the version was made from"
    arrow = {"id": "arrow", "viewBox": "0 0 8 8", "refX": "7", "refY": "4", "markerWidth": "7", "markerHeight": "7"}
    marker = SubElement(SubElement(svg, "defs"), "marker", arrow | {"orient": "auto"})
    SubElement(marker, "path", {"d": "M0 0 L8 4 L0 8 z", "fill": "var(--soft)"})
    for node in nodes:
        for parent in node.parents:
            draw_arrow(svg, corner[parent], corner[node.identity])
    for node in nodes:
        draw_box(svg, node, *corner[node.identity])
    return svg


def draw_arrow(svg: Element, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From the top of what was given to the bottom of what was made of it."""
    x1, y1, x2, y2 = start[0] + BOX_WIDTH / 2, start[1], end[0] + BOX_WIDTH / 2, end[1] + BOX_HEIGHT + 2
    bend = (y1 - y2) / 2
    d = f"M{x1:.1f} {y1:.1f} C{x1:.1f} {y1 - bend:.1f} {x2:.1f} {y2 + bend:.1f} {x2:.1f} {y2:.1f}"
    look = {"fill": "none", "stroke": "var(--soft)", "stroke-width": "1.3", "marker-end": "url(#arrow)"}
    SubElement(svg, "path", {"d": d} | look)


def draw_box(svg: Element, node: Node, x: float, y: float) -> None:
    link = SubElement(svg, "a", {"href": f"#{node.target or node.identity}"})
    SubElement(link, "title").text = f"{KINDS.get(node.kind, node.kind)}: {node.title}\n" + "\n".join(node.lines)
    colour = "var(--bad)" if node.broken else f"var(--{node.kind})"
    box = {"x": f"{x:g}", "y": f"{y:g}", "width": str(BOX_WIDTH), "height": str(BOX_HEIGHT), "rx": "8"}
    dashes = {"stroke-dasharray": "5 4"} if node.broken else {}
    SubElement(link, "rect", box | {"class": "box", "fill": "var(--page)", "stroke": colour, "stroke-width": "1.5"} | dashes)
    SubElement(link, "rect", box | {"width": "6", "rx": "3", "fill": colour})
    texts = [(KINDS.get(node.kind, node.kind).upper(), 11.0, "600", colour), (node.title, 14.0, "600", "var(--ink)")]
    texts += [(line, 12.0, "400", "var(--bad)" if node.broken else "var(--soft)") for line in node.lines if line]
    for number, (text, size, weight, fill) in enumerate(texts[:4]):
        style = {"x": f"{x + 18:g}", "y": f"{y + 20 + number * 18.5:g}", "font-size": f"{size:g}", "font-weight": weight}
        SubElement(link, "text", style | {"fill": fill}).text = cut(text, int(CHARACTERS * 12 / max(size, 12.0)) + 3)


def cut(text: str, length: int) -> str:
    """In the middle, as beginnings and ends of names tell them apart."""
    if len(text) <= length:
        return text
    return f"{text[: length // 2]}…{text[-(length - length // 2 - 1) :]}"
