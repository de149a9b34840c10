"""Hostile settings: in a file, and on the command line."""

from __future__ import annotations

from collections.abc import Callable

from tests.hostile.case import Case, Ground

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefghi", "bcdefghij", strict=True))
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}\n"
    for old, new in zip("abcdefghi", "bcdefghij", strict=True))


def file(content: str | bytes) -> Callable[[Ground], list[object]]:
    return lambda ground: ["estimate", "--config", ground.write("c.yaml", content)]


def option(*texts: str) -> Callable[[Ground], list[object]]:
    return lambda _: ["estimate", "--preset", "NANO", *(word for text in texts for word in ("--set", text))]


def executed(ground: Ground) -> list[object]:
    path = ground.write("c.yaml", f"model: !!python/object/apply:os.system ['touch {ground.path('pwned')}']\n")
    return ["estimate", "--config", path]


def folder(ground: Ground) -> list[object]:
    ground.path("c.yaml").mkdir()
    return ["estimate", "--config", ground.path("c.yaml")]


def pipe(ground: Ground) -> list[object]:
    import os

    os.mkfifo(ground.path("c.yaml"))
    return ["estimate", "--config", ground.path("c.yaml")]


CASES = [
    Case("text where a number belongs", file("model: {num_layers: many}"),
         "model.num_layers must be a whole number (1 to 1,024), not 'many'."),
    Case("a number where true or false belongs", file("model: {tie_weights: 2}"),
         "model.tie_weights must be true or false, not 2."),
    Case("a list where a section belongs", file("model: [1, 2]"), "'model' must be a group of settings, not [1, 2]."),
    Case("a mapping where a name belongs", file("name: {a: b}"), "'name' must be a text."),
    Case("no number: .nan", file("training: {learning_rate: .nan}"),
         "training.learning_rate must be a number (1e-09 to 10), not nan."),
    Case("infinity", file("training: {max_grad_norm: .inf}"),
         "training.max_grad_norm must be a number (0 to 1,000,000), not inf."),
    Case("negative", file("training: {batch_size: -4}"), "training.batch_size must be 1 to 65,536, not -4."),
    Case("huge: a billion layers", file("model: {num_layers: 1000000000}"),
         "model.num_layers must be 1 to 1,024, not 1000000000."),
    Case("5 000 digits", file("model: {hidden_size: " + "9" * 5000 + "}"),
         "…/c.yaml holds a number or a date that there cannot be. Correct it, or choose another file."),
    Case("5 000 hexadecimal digits as a name", file("name: 0x" + "f" * 5000), "'name' must be a text."),
    Case("a date that does not exist", file("name: 2026-13-45"),
         "…/c.yaml holds a number or a date that there cannot be. Correct it, or choose another file."),
    Case("an unknown setting", file("model: {hiden_size: 64}"),
         "'model.hiden_size' is no setting (did you mean 'model.hidden_size'?)."),
    Case("an unknown section", file("modell: {hidden_size: 64}"), "'modell' is no setting (did you mean 'model'?)."),
    Case("10 000 unknown settings", file("".join(f"s{i}: 1\n" for i in range(10_000))),
         "'s0' is no setting; 's1' is no setting; 's2' is no setting; 's3' is no setting; 's4' is no setting; "
         "'s5' is no setting; 's6' is no setting; 's7' is no setting; 's8' is no setting; 's9' is no setting; "
         "and 9990 more."),
    Case("settings that contradict each other", file("model: {hidden_size: 65, num_heads: 8}"),
         "model.num_heads (8) must divide model.hidden_size (65): lower model.num_heads to 5."),
    Case("the same setting twice", file("model:\n  num_layers: 2\n  num_layers: 3\n"),
         "…/c.yaml is not valid YAML at line 3: 'num_layers' stands there twice. Check its indentation and quotes."),
    Case("aliases that unfold to 10 billion texts", file(LAUGHS + "name: *j\n"),
         "'a' is no setting; 'b' is no setting; 'c' is no setting; 'd' is no setting; 'e' is no setting; "
         "'f' is no setting; 'g' is no setting; 'h' is no setting; 'i' is no setting; 'j' is no setting; "
         "and 1 more."),
    Case("merged mappings that unfold to 10 billion entries", file(MERGES),
         "…/c.yaml is not valid YAML at line 2: '<<' is not allowed in settings. Check its indentation and quotes."),
    Case("a list that contains itself", file("model: &a [*a]\n"),
         "'model' must be a group of settings, not [[[...]]]."),
    Case("a tag that would run a command", executed,
         "…/c.yaml is not valid YAML at line 1. Check its "
         "indentation and quotes.", check=lambda ground: ground.nothing_new("c.yaml")),
    Case("a tag that its value does not fit", file("model: {tie_weights: !!bool maybe}"),
         "…/c.yaml holds a value that is not of the type it names. Correct it, or choose another file."),
    Case("nested 100 000 deep", file("[" * 100_000),
         "…/c.yaml is nested without end. Correct it, or choose another file."),
    Case("10 MB of nesting", file("[" * 10_000_000),
         "…/c.yaml is larger than 256 KiB. Correct it, or choose another file."),
    Case("an empty file", file(""), "", goes_on=True),
    Case("a list", file("- 1\n- 2\n"), "…/c.yaml holds no settings. It must consist of sections such as 'model:'."),
    Case("binary", file(bytes(range(256)) * 4), "…/c.yaml is not text in UTF-8. Save it as UTF-8."),
    Case("NUL bytes", file("\0" * 100), "…/c.yaml is not valid YAML. Check its indentation and quotes."),
    Case("UTF-16", file("model:\n".encode("utf-16")), "…/c.yaml is not text in UTF-8. Save it as UTF-8."),
    Case("an open bracket", file("model: {num_layers: 2"),
         "…/c.yaml is not valid YAML at line 1. Check its indentation and quotes."),
    Case("a folder", folder, "…/c.yaml cannot be read (Is a directory)."),
    Case("a named pipe", pipe, "…/c.yaml cannot be read (it is no ordinary file)."),
    Case("no such file", lambda ground: ["estimate", "--config", ground.path("none.yaml")],
         "There is no file …/none.yaml. Check the path, or choose a preset."),
    Case("--set without a value", option("model.num_layers"),
         "'model.num_layers' is not of the form section.key=value."),
    Case("--set of a whole section", option("model={num_layers: 2}"),
         "'model={num_layers: 2}' is not of the form section.key=value."),
    Case("--set of an unknown setting", option("model.layers=2"),
         "'model.layers' is no setting (did you mean 'model.num_layers'?)."),
    Case("--set of a number that is none", option("model.num_layers=2.5"),
         "model.num_layers must be a whole number (1 to 1,024), not 2.5."),
    Case("--set of a number beyond all measure", option("training.learning_rate=1e999"),
         "training.learning_rate must be a number (1e-09 to 10), not '1e999'."),
    Case("--set with a tag that would run code", option("model.num_layers=!!python/name:os.system"),
         "model.num_layers must be a whole number (1 to 1,024), not '!!python/name:os.system'."),
    Case("--set with a value of brackets", option("sampling.prompts=" + "[" * 5000), "", goes_on=True),
    Case("--set of quiet hours that are none",
         option("hardware.target_temperature=65", "hardware.quiet_hours=25:00-26:00"),
         "hardware.quiet_hours must be like 22:00-07:00, not '25:00-26:00'."),
]
