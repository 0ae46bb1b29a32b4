"""Run the tests of the tools without a Galaxy server.

    python run_tests.py [TOOL.xml ...]

Galaxy's own library reads the tools, the test cases and the checks of the outputs; Cheetah renders
the command, which bash runs in an empty folder. `dnabert2-fast` must be on the PATH. Needs planemo,
or galaxy-tool-util and CT3.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from Cheetah.Template import Template
from galaxy.tool_util.parser import get_tool_source
from galaxy.tool_util.verify import verify

HERE = Path(__file__).parent
DATA = HERE / "test-data"


class File(str):
    """The path of an input, with what templates use of a data set."""

    ext = ""

    def is_of_type(self, *names: str) -> bool:
        """Whether the data set has one of these formats."""
        return self.ext in names


def values_of(inputs: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Return the value of each parameter in the template."""
    values: dict[str, Any] = {}
    for one in inputs.parse_input_sources():
        name, kind = one.parse_name(), one.get("type")
        test = given.get(name)
        if kind == "data":
            values[name] = File(DATA / test["value"])
            values[name].ext = test["attributes"]["ftype"]
        elif kind == "boolean":
            on = test is not None and test["value"] in (True, "true")
            values[name] = one.get("truevalue" if on else "falsevalue")
        elif kind == "select":
            default = next(value for _, value, chosen in one.parse_static_options() if chosen)
            values[name] = default if test is None else test["value"]
        else:
            values[name] = one.get("value") if test is None else test["value"]
    return values


def run_test(source: Any, test: dict[str, Any], folder: Path) -> None:
    """Run one test case; raises when the command or a check fails."""
    (page,) = source.parse_input_pages().page_sources
    given = {one["name"]: one for one in test["inputs"]}
    command = str(Template(source.parse_command(), searchList=[values_of(page, given)]))
    print(" ".join(command.split()))
    subprocess.run(["bash", "-ec", " ".join(command.split())], cwd=folder, check=True)
    outputs = source.parse_outputs(None)[0]
    assert len(outputs) == int(test["expect_num_outputs"]) == len(test["outputs"])
    for expected in test["outputs"]:
        content = (folder / outputs[expected["name"]].from_work_dir).read_bytes()
        verify(expected["name"], content, expected["attributes"], filename=None)


def main() -> None:
    """Run every test of the tools that are named, or of all."""
    files = [Path(name) for name in sys.argv[1:]] or sorted(HERE.glob("dnabert2_fast_*.xml"))
    count = 0
    for file in files:
        source = get_tool_source(str(file))
        for test in source.parse_tests_to_dict()["tests"]:
            with tempfile.TemporaryDirectory() as folder:
                run_test(source, test, Path(folder))
            count += 1
    print(f"{count} tests passed")


if __name__ == "__main__":
    main()
