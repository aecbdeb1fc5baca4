"""What `make profile` tells of the stacks that were seen."""

import inspect
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.benchmarks.load.flames import colour_of, flame_graph
from tests.benchmarks.load.processes import Stat, parsed_stat, tree
from tests.benchmarks.load.sampler import named
from tests.benchmarks.load.stacks import by_package, merged, package_of, parsed, spent, total

_TEXT = """\
process 12:"mcp-postgres serve";main (server/cli.py:34);read (server/reads.py:61);execute (asyncpg/connection.py:320) 6
process 12:"mcp-postgres serve";main (server/cli.py:34);read (server/reads.py:61) 3
process 13:"mcp-postgres serve";main (server/cli.py:34);main (server/cli.py:34) 1

"""
_STACKS = parsed(_TEXT)


def test_processes_of_one_server_are_told_as_one() -> None:
    assert total(_STACKS) == 10
    assert all(not frame.startswith("process") for frames in _STACKS for frame in frames)


def test_a_function_is_told_by_its_own_time_and_by_that_of_what_it_called() -> None:
    told = {each.frame.split(" ")[0]: (each.self_samples, each.all_samples) for each in spent(_STACKS)}
    assert told == {"execute": (6, 6), "read": (3, 9), "main": (1, 10)}
    assert spent(_STACKS)[0].frame.startswith("execute")


def test_own_time_is_summed_by_package() -> None:
    assert by_package(_STACKS) == [("asyncpg", 6), ("server", 4)]
    assert package_of("f (/x/lib/python3.11/site-packages/mcp/server/runner.py:9)") == "mcp"
    assert package_of("poll") == "(interpreter)"


def test_the_tree_counts_each_stack_once_at_each_depth() -> None:
    (main,) = merged(_STACKS, 50).children.values()
    assert (main.samples, sorted(child.samples for child in main.children.values())) == (10, [1, 9])


def test_the_graph_is_well_formed_with_widths_that_follow_the_samples() -> None:
    graph = ET.fromstring(flame_graph(_STACKS, "a <title> & more"))  # noqa: S314 - we wrote it
    space = "{http://www.w3.org/2000/svg}"
    widths = {
        str(group.findtext(f"{space}title")).split(" ")[0]: float(rect.attrib["width"])
        for group in graph.iter(f"{space}g")
        if (rect := group.find(f"{space}rect")) is not None
    }
    assert widths["execute"] == 0.6 * widths["all:"]


def test_our_own_code_stands_out() -> None:
    assert colour_of("read (server/reads.py:61)") != colour_of("execute (asyncpg/connection.py:320)")


def test_a_process_may_have_any_name() -> None:
    stat = parsed_stat("7 (a) b (c) S 3 7 7 0 -1 0 0 0 0 0 11 12 200 50 20 0 1 0 5 0 0", tick=0.01)
    assert (stat.parent, stat.ended) == (3, 2.5)


def test_a_server_is_measured_with_all_that_it_started_and_nothing_else() -> None:
    stats = {1: Stat(0, 0.0), 7: Stat(1, 0.0), 8: Stat(7, 0.0), 9: Stat(8, 0.0), 10: Stat(1, 0.0)}
    assert sorted(tree(7, stats)) == [7, 8, 9]
    assert tree(99, stats) == []


def test_the_sampler_names_a_frame_by_the_file_that_imports_see(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = inspect.currentframe()
    assert frame is not None
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2]), *sys.path])
    assert named(frame).startswith("test_the_sampler_names_a_frame_by_the_file_that_imports_see (tests/unit/")
