"""The template of the stack as data: the short form `!Ref X` becomes {"Ref": "X"}."""

from pathlib import Path
from typing import Any

import yaml

from hybrid_batch.inference.cloud.stack.stack import TEMPLATE


class _Loader(yaml.SafeLoader):
    pass


def _function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {suffix: value}


_Loader.add_multi_constructor("!", _function)


def read_template() -> dict[str, Any]:
    """The whole template."""
    template: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Loader)  # noqa: S506 - a safe loader
    return template


def without(*names: str, path: Path = TEMPLATE) -> str:
    """The text of a template without some resources, which the local AWS does not support."""
    lines = path.read_text().splitlines(keepends=True)
    for name in names:
        start = lines.index(f"  {name}:\n")
        end = next(number for number in range(start + 1, len(lines)) if lines[number][:3].strip())
        del lines[start:end]
    return "".join(lines)
