"""Every option of the commands and every flag of the model server is documented, and nothing else is."""

from __future__ import annotations

import re
import runpy

import pytest
from markdown_pages import REFERENCE, Page
from paths import ROOT
from source_code import calls, modules, strings
from type_keys import leaves

from deployer.cli.__main__ import OPTIONS
from deployer.cli.verbs import VERBS
from deployer.errors import SpecError
from deployer.release import spec
from deployer.release.render.server_flags import PORTS, server_flags
from gateway.__main__ import command_line
from tfserving.flags import FLAGS
from tfserving.server.grpc.limits import EFFECTIVE
from tfserving.server.settings import WITHOUT_EFFECT

CLI = Page(REFERENCE / "cli.md")
SET = Page(REFERENCE / "flags.md").table("Flags of the model server", "flag")
REFUSED = Page(REFERENCE / "flags.md").table("Flags of the model server", "rejected flag")
EMBEDDED = Page(REFERENCE / "model-server.md")
UNSAFE = "--enable_serialization_as_tensor_content=true"


def test_the_command_line_reference_is_what_the_verbs_say() -> None:
    generator = runpy.run_path(str(ROOT / "scripts" / "docs.py"))
    assert generator["PAGE"].read_text("utf-8") == generator["page"](), "run `make docs`"


def test_every_verb_and_common_option_has_its_place() -> None:
    headings = [heading for heading in CLI.headings if re.fullmatch(r"deployer \w+", heading)]
    assert headings == [f"deployer {verb}" for verb in VERBS]
    assert CLI.codes >= OPTIONS.keys()


def test_every_kind_of_result_has_its_place_and_nothing_else_has() -> None:
    printed = {
        kind
        for module in modules("deployer/cli")
        for call in calls(module, "console.result")
        for kind in strings(call.args[0])
    }
    told = {code for code in CLI.table("Kinds of results").codes("`kind` with `-o json`") if code not in VERBS}
    assert told == printed


def test_every_flag_of_the_gateway_has_its_row_and_nothing_else_has() -> None:
    rows = Page(REFERENCE / "gateway.md").table("The gateway").keys()
    flags = {flag: action for action in command_line()._actions for flag in action.option_strings}
    del flags["-h"], flags["--help"]
    assert rows.keys() == flags.keys()
    for flag, action in flags.items():
        told = rows[flag]["Default"].text.strip("`")
        default = "none" if action.default is None else action.default
        assert told == "required" if action.required else float_or_text(told) == float_or_text(default)


def float_or_text(value: object) -> object:
    return float(str(value)) if re.fullmatch(r"[0-9.]+", str(value)) and str(value).count(".") < 2 else value


def test_the_flags_that_every_model_server_gets_have_their_row_and_nothing_else_has() -> None:
    release = spec.parse("{release: a, store: s, models: [m], batching: {}}", ROOT)
    assert set(SET.codes()) == {f"--{name}" for name in {**PORTS, **server_flags(release)}}


def test_the_flags_that_are_refused_are_those_of_the_two_tables() -> None:
    documented = {*SET.codes(), *REFUSED.codes()} - {UNSAFE}
    assert documented == {f"--{name}" for name in spec.OWN_FLAGS}
    assert not set(SET.codes()) & set(REFUSED.codes())


@pytest.mark.parametrize("flag", REFUSED.codes())
def test_a_refused_flag_is_refused(flag: str) -> None:
    name, _, value = flag.removeprefix("--").partition("=")
    text = f"{{release: a, store: s, models: [m], serving: {{flags: {{{name}: {value or 1}}}}}}}"
    with pytest.raises(SpecError, match=r"serving\.flags"):
        spec.parse(text, ROOT)


def test_the_defaults_of_keys_that_decide_a_flag_are_those_of_the_code() -> None:
    keys = leaves(spec._Document)
    told = {
        cell.codes[0]: int(number[1])
        for cell in SET.column("value")
        if cell.codes and (number := re.match(r"`serving\.[\w.]+`, (\d+)", cell.text))
    }
    assert told == {key: keys[key].default for key in told}
    assert len(told) >= 5


def test_every_flag_of_the_embedded_server_has_its_row_and_nothing_else_has() -> None:
    effective, idle = EMBEDDED.table("Flags", "flag"), EMBEDDED.table("Flags", "flag without effect")
    assert sorted([*effective.codes(), *idle.codes()]) == sorted(FLAGS)
    assert sorted(idle.codes()) == sorted(WITHOUT_EFFECT)


def test_every_channel_argument_that_has_an_effect_is_named_and_no_other_is() -> None:
    named = {code for code in EMBEDDED.codes if re.fullmatch(r"grpc\.[\w.]+", code)}
    assert named == EFFECTIVE
