"""The graph of a version: every thing once, in layers, and no box over another."""

from itertools import combinations
from xml.etree import ElementTree

from flows.ancestry_graph import BOX_HEIGHT, BOX_WIDTH, COLUMNS, SHOWN_FILES, cut, graph, layers_of, nodes_of, short_name
from tasks.audit.ancestors import Ancestor, SourceFile
from tests.kit.told_ancestry import told


def boxes(svg):
    found = [one for one in svg.iter("rect") if one.get("class") == "box"]
    return [tuple(float(one.get(key)) for key in ("x", "y", "width", "height")) for one in found]


def with_sources(number):
    """Two data sets from the same files."""
    found = told()
    files = tuple(SourceFile(source="s", name=f"file-{n}.txt", size_bytes=n, sha256=f"{n:x}" * 64) for n in range(number))
    parents = tuple(
        Ancestor(role="dataset", kind="prepare", name=f"datasets/d-{n}", digest=f"{n}" * 64, stated="verified", sources=files)
        for n in range(3, 9)
    )
    return found.model_copy(update={"made_by": found.made_by.model_copy(update={"made_from": parents})})


def test_everything_is_there_once_with_its_parents():
    nodes = {node.identity: node for node in nodes_of(told())}
    titles = {node.title: node for node in nodes.values()}
    assert set(titles) == {"demo-topic v2", "demo-topic/ab", "model-1", "labels-1", "model.safetensors", "a.jsonl"}
    assert [nodes[one].title for one in titles["demo-topic/ab"].parents] == ["model-1", "labels-1"]
    assert titles["model.safetensors"].target == titles["model-1"].identity
    assert titles["labels-1"].broken and not titles["model-1"].broken
    assert titles["demo-topic v2"].lines == ("champion", "accuracy 0.9123")


def test_files_of_several_data_sets_are_one_box_and_many_are_counted():
    nodes = nodes_of(with_sources(2))
    assert sum(node.kind == "file" for node in nodes) == 2
    nodes = nodes_of(with_sources(SHOWN_FILES + 3))
    assert [node.title for node in nodes if "more" in node.title] == ["3 more files"] * 6


def test_what_was_given_lies_below_what_was_made_of_it_and_boxes_do_not_touch():
    for ancestry in (told(), with_sources(3), with_sources(9)):
        nodes = nodes_of(ancestry)
        layers = layers_of(nodes)
        depth = {node.identity: number for number, layer in enumerate(layers) for node in layer}
        assert len(depth) == len(nodes) and max(map(len, layers)) <= COLUMNS
        assert all(depth[parent] > depth[node.identity] for node in nodes for parent in node.parents)
        svg = graph(nodes)
        placed = boxes(svg)
        assert len(placed) == len(nodes)
        width, height = float(svg.get("width")), float(svg.get("height"))
        assert all(x >= 0 and x + w <= width and y >= 0 and y + h <= height for x, y, w, h in placed)
        for one, other in combinations(placed, 2):
            assert abs(one[0] - other[0]) >= BOX_WIDTH or abs(one[1] - other[1]) >= BOX_HEIGHT


def test_each_box_leads_to_its_table_and_there_is_an_arrow_for_each_parent():
    nodes = nodes_of(told())
    svg = graph(nodes)
    links = [one.get("href") for one in svg.iter("a")]
    assert links == [f"#{node.target or node.identity}" for node in nodes]
    arrows = [one for one in svg.iter("path") if one.get("marker-end")]
    assert len(arrows) == sum(len(node.parents) for node in nodes)


def test_what_is_gone_is_drawn_with_dashes_and_foreign_names_stay_text():
    nodes = nodes_of(told())
    nodes[0].title = '<script>"x"</script>'
    text = ElementTree.tostring(graph(nodes), encoding="unicode")
    assert text.count("stroke-dasharray") == 1 and "<script" not in text


def test_names_are_cut_in_the_middle():
    assert (cut("short", 10), cut("a-very-long-name-1234", 11)) == ("short", "a-ver…-1234")
    assert [short_name(name) for name in ("finetunes/t/ab/finetune", "runs/demo/02-pretrain", "datasets/d-1", "/x/y")] == [
        "t/ab", "demo", "d-1", "x/y",
    ]  # fmt: skip
