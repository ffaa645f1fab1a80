"""Each setting stands once, as a field of Config: flags, help and keyword arguments agree with it."""

import inspect
import json
import re
import types
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
from pydantic import BeforeValidator
from typer.testing import CliRunner

import dupegrid
from dupegrid.app.command.cli import app
from dupegrid.app.command.flags import GROUPS
from dupegrid.core.config import Config, load_config, settings_of
from dupegrid.core.errors import ConfigError
from dupegrid.core.settings import CompareSettings, Settings
from tests.conftest import save

VERBS = {verb for taken in settings_of("run").values() for verb in taken.by}


def told(verb: str) -> dict[str, str]:
    """flag -> what --help says of it, on one line."""
    text = CliRunner().invoke(app, [verb, "--help"]).output.partition("Options:\n")[2]
    flags = re.split(r"\n  --", re.sub(r"\n\n\w.*:\n", "\n", f"\n{text}"))[1:]
    return {flag.split()[0]: " ".join(flag.split()[1:]) for flag in flags}


def given(hint: Any) -> Any:
    """The type that a caller may give for a field: what stands before its converter, where it has one."""
    if get_origin(hint) is Annotated:
        converters = [entry for entry in hint.__metadata__ if isinstance(entry, BeforeValidator)]
        return converters[0].json_schema_input_type if converters else given(hint.__origin__)
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [given(kind) for kind in get_args(hint)]
        return Union[tuple(kinds)]  # noqa: UP007
    return hint


def test_keyword_arguments_are_the_fields_of_config() -> None:
    hints = get_type_hints(Config, include_extras=True)
    assert get_type_hints(Settings) == {name: given(hints[name]) for name in Config.model_fields}
    assert get_type_hints(CompareSettings).keys() == settings_of("compare").keys()
    for verb in (dupegrid.run, dupegrid.index, dupegrid.estimate):
        assert not Config.model_fields.keys() & set(verb.__code__.co_varnames[: verb.__code__.co_kwonlyargcount]), verb


def test_help_and_completion_know_every_setting_and_its_default() -> None:
    for verb in (dupegrid.run, dupegrid.index, dupegrid.compare, dupegrid.estimate):
        parameters = inspect.signature(verb).parameters
        for name in settings_of(verb.__name__):
            field = Config.model_fields[name]
            assert parameters[name].default == (None if field.default_factory else field.default), (verb, name)
            assert f"\n    {name}: {field.description}\n" in f"{inspect.getdoc(verb)}\n", (verb, name)
        assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def test_every_verb_has_the_flags_of_its_settings() -> None:
    own = {"out", "config", "decisions", "list-new", "json", "help", "plots", "plots-most", "images", "gpus", "detach"}
    assert {"run", "index", "compare", "cluster", "estimate"} == VERBS
    for verb in VERBS:
        flags = {name.replace("_", "-") for name, taken in settings_of(verb).items() if taken.flag}
        assert told(verb).keys() - own == flags, verb


def test_settings_without_a_flag_are_few() -> None:
    assert [name for name, taken in settings_of("run").items() if not taken.flag] == ["paths", "tile"]
    assert settings_of("run").keys() == Config.model_fields.keys()


def test_help_says_what_a_flag_does_and_its_default() -> None:
    run, compare = told("run"), told("compare")
    for name, field in Config.model_fields.items():
        assert field.description, name
        assert name in ("paths", "tile") or field.description in run[name.replace("_", "-")], name
    assert run["threshold"].endswith("[default: 50]")
    assert run["cutoff"].endswith("[default: the threshold]")
    assert run["orientations"].startswith("none|rotations|all ")
    assert run["orientations"].endswith("[default: rotations]")
    assert run["max-pixels"].endswith("[default: 250000000]")
    assert run["memory"].endswith("[default: half of what it has]")
    assert run["matrix"].endswith("too.")
    assert compare["threshold"].endswith("[default: RUN's]")
    assert compare["scheduler"].endswith("[default: RUN's, unless that is an address]")


def test_flags_are_in_groups_as_documents_write_them() -> None:
    text = CliRunner().invoke(app, ["run", "--help"]).output
    sections = dict(re.findall(r"\n\n(\w[^\n]*):\n(.*?)(?=\n\n|$)", text, re.DOTALL))
    assert list(sections) == ["Arguments", "Options", *GROUPS]
    for group, names in GROUPS.items():
        assert all(f"  --{name.replace('_', '-')} " in sections[group].replace("\n", " ") for name in names), group
    assert max(map(len, text.splitlines())) <= 80
    for verb in ("run", "explain", "plan", "export"):
        assert not re.search("[<{]", CliRunner().invoke(app, [verb, "--help"]).output), verb


def test_a_cutoff_that_is_not_given_is_the_threshold(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("cutoff:\n")
    (tmp_path / "unknown.yaml").write_text("cutof:\n")
    assert load_config().cutoff == 50
    assert load_config(threshold=7, cutoff=None).cutoff == 7
    assert load_config(tmp_path / "empty.yaml", threshold=8).cutoff == 8
    before = Config(threshold=20, cutoff=300)
    assert load_config(None, before, threshold=9).cutoff == 300
    assert load_config(None, before, threshold=301).cutoff == 301
    assert load_config(None, before).threshold == 20
    with pytest.raises(ConfigError, match=r"unknown setting 'cutof'; did you mean 'cutoff'\?"):
        load_config(tmp_path / "unknown.yaml")


def test_a_saved_cutoff_is_a_number(tmp_path: Path) -> None:
    save(tmp_path / "photos/a.jpg", 1)
    run = dupegrid.run(tmp_path / "photos", out=tmp_path / "run", threshold=20, thumb=16, quiet=True)
    assert json.loads((run.path / "run.json").read_text())["config"]["cutoff"] == 20
    assert dupegrid.open_run(run.path).config == run.config


def test_rules_are_one_text_or_several() -> None:
    several = ("pixels unless gps", "folder:*/2019", "oldest")
    assert load_config(keep="pixels  unless gps, folder:*/2019,oldest").keep == several
    assert load_config(keep=list(several)).keep == several
    for wrong in ("largest", "pixels unless", "pixels unless x", "folder:", "unless gps"):
        with pytest.raises(ConfigError, match=r"keep\.0 is '.*': use pixels, bytes"):
            load_config(keep=wrong)
    assert load_config(protect="none", only=["none"]).protect == ()


@pytest.mark.parametrize("text", [".jpg,.PNG", "jpg, png", "jpg,,png"])
def test_endings_may_be_one_text(text: str) -> None:
    assert load_config(extensions=text).extensions == (".jpg", ".png")
    assert load_config(extensions=["jpg", ".png"]).extensions == (".jpg", ".png")
