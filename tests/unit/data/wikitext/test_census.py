"""What was dropped is counted by name, with what stood inside a sentence; the table is bounded."""

from tasks.data.wikitext.census import MAX_NAMES, OTHER_NAMES, add, new_census
from tasks.data.wikitext.convert import wikitext_to_text


def test_templates_are_counted_by_name():
    census = new_census()
    wikitext = (
        "{{Infobox|a={{nested}}}}\nIt has {{Foo_bar|1|2}} of {{foo bar|3|4}} here{{sfn|x}}, {{citation needed}} and "
        "{{convert|5|km}} {{nowrap|kept}} there.\n{{Foo bar|5|6}}\n{|\n| {{in table}}\n|}\n{{шаблон|1|2}}"
    )
    wikitext_to_text(wikitext, census=census)
    dropped: dict[str, list[int]] = {}
    add(census, dropped)
    assert dropped == {"infobox": [1, 0], "foo bar": [3, 2], "sfn": [1, 0], "citation needed": [1, 0], "шаблон": [1, 0]}
    add(census, dropped)
    assert dropped["foo bar"] == [6, 4]


def test_more_names_than_there_is_room_for_are_counted_together():
    census = new_census()
    wikitext_to_text("".join(f"{{{{name {n}}}}}\n" for n in range(MAX_NAMES + 10)), census=census)
    dropped: dict[str, list[int]] = {}
    add(census, dropped)
    assert len(dropped) == MAX_NAMES + 1
    assert dropped[OTHER_NAMES] == [10, 0]
    assert dropped["name 7"] == [1, 0]
