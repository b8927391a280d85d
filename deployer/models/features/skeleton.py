"""`features init`: a features.yaml to begin with, from a signature and what data shows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from deployer.domain.store import SignatureFact, TensorFact
from deployer.models.features.profile import Profile

VOCABULARY_MAX: Final = 50
"""More words than this are hashed."""
YEAR_2000, YEAR_2100 = 946_684_800, 4_102_444_800
"""Seconds since 1970."""
COLUMNS_MAX: Final = 30
"""Inputs with more columns become one vector when there is no data."""


def skeleton(source: str, signature: SignatureFact, total: int, data: Mapping[str, Profile]) -> str:
    """The text of a features.yaml, with a comment at everything that a person has to decide. `data` may be empty."""
    ignored = [key for key, profile in data.items() if _is_identifier(profile, total)]
    features = [_from_data(key, profile, total) for key, profile in data.items() if key not in ignored]
    lines = [f"# From the signature of {source}" + (f" and {total} rows of data." if data else "."), *_HEAD]
    lines += ["features:"]
    if features:
        lines += [f"  - {{{text}}}   # {comment}" for text, comment in features]
    else:
        lines += [f"  - {{{text}}}" for tensor in signature.inputs.items() for text in _from_tensor(*tensor)]
    lines += _inputs(signature, [key for key in data if key not in ignored])
    lines += _output(signature)
    if ignored:
        lines += ["# Almost every row has another value: an identifier says nothing that a model could learn."]
        lines += [f"ignore: {_flow(ignored)}"]
    return "\n".join(lines) + "\n"


_HEAD: Final = (
    "# Decide as the comments say, then run `deployer features check`. All keys: docs/reference/features-yaml.md",
    "",
)


def _from_data(key: str, profile: Profile, total: int) -> tuple[str, str]:
    """The feature, and what was seen."""
    gap = profile.missing(total)
    seen = f"; {gap:.1%} missing" if gap else ""
    name = f"name: {_word(key)}"
    match profile.kind:
        case "number":
            kind = "int" if profile.whole else "float"
            scale = f", normalize: {{mean: {profile.mean:.6g}, std: {profile.deviation:.6g}}}"
            scale = scale if profile.deviation > 0 else ""
            missing = ", missing: {mean: true, flag: true}" if gap and scale else ""
            missing = missing or (f", missing: {{value: {profile.low:.6g}, flag: true}}" if gap else "")
            skewed = profile.low >= 0 and profile.deviation > profile.mean > 0
            hint = "; decide: log1p: true, min: 0?" if skewed else ""
            hint = _hint_of_time(profile) or hint
            values = f"{profile.low:g} to {profile.high:g}"
            if profile.low == profile.high:
                values = f"always {profile.low:g}: decide: leave it out, it says nothing that a model could learn"
            return f"{name}, type: {kind}{scale}{missing}", f"{values}{seen}{hint}"
        case "bool":
            return f"{name}, type: bool" + (", missing: {flag: true}" if gap else ""), f"true or false{seen}"
        case "time":
            missing = ", missing: {flag: true}" if gap else ""
            return (
                f"{name}, type: timestamp, parts: [hour_sin, hour_cos, weekday]{missing}",
                f"decide: timezone, parts{seen}",
            )
        case "text":
            missing = ", missing: {flag: true}" if gap else ""
            words = len(profile.words)
            if words <= VOCABULARY_MAX and not profile.many_words:
                known = [word for word, _ in profile.words.most_common()]
                return (
                    f"{name}, type: category, vocabulary: {_flow(known)}{missing}",
                    f"{words} words, the most frequent first; decide: the order of training, unknown{seen}",
                )
            buckets = 1 << (2 * words - 1).bit_length()
            more = "more than " if profile.many_words else ""
            return (
                f"{name}, type: category, encoding: hash_bucket, hash: farmhash, buckets: {buckets}{missing}",
                f"{more}{words} words; decide: a hash, or type string{seen}",
            )
        case "list":
            longest = max(profile.lengths)
            if profile.words and len(profile.words) <= VOCABULARY_MAX:
                known = [word for word, _ in profile.words.most_common()]
                return f"{name}, type: list, items: {{type: category, vocabulary: {_flow(known)}}}", f"multi-hot{seen}"
            if len(profile.lengths) == 1 and not profile.words:
                return f"{name}, type: vector, length: {longest}", f"always {longest} numbers{seen}"
            return f"{name}, type: list, length: {longest}, items: {{type: number}}", f"up to {longest} elements{seen}"
        case kind:
            found = ", ".join(f"{count} {one}" for one, count in profile.kinds.most_common()) or "no value"
            why = {"object": "features read keys of the record itself", "empty": "nothing to learn from"}.get(
                kind, kind
            )
            return f"{name}, type: float", f"decide: {why}; the data has {found}{seen}"


def _hint_of_time(profile: Profile) -> str:
    """Whether whole numbers look like moments of this century."""
    for form, scale in (("seconds", 1), ("millis", 1000)):
        if profile.whole and profile.low >= YEAR_2000 * scale and profile.high <= YEAR_2100 * scale:
            return f"; decide: a time? then type: timestamp, format: {form}"
    return ""


def _is_identifier(profile: Profile, total: int) -> bool:
    words = len(profile.words)
    return profile.kind == "text" and total >= 20 and (profile.many_words or words > 0.9 * profile.kinds["text"] > 0)


def _from_tensor(name: str, tensor: TensorFact) -> Iterator[str]:
    """Features for an input of which nothing else is known."""
    if tensor.dtype == "string":
        yield f"name: {_word(name)}, type: string"
        return
    columns = _columns(tensor)
    kind = {"bool": "bool"}.get(tensor.dtype, "int" if "int" in tensor.dtype else "float")
    if columns > COLUMNS_MAX and kind == "float":
        yield f"name: {_word(name)}, type: vector, length: {columns}"
        return
    for index in range(columns):
        yield f"name: {_word(name if columns == 1 else f'{name}_{index}')}, type: {kind}"


def _columns(tensor: TensorFact) -> int:
    count = 1
    for size in (tensor.shape or (-1, 1))[1:]:
        count *= max(size, 1)
    return count


def _inputs(signature: SignatureFact, keys: list[str]) -> Iterator[str]:
    needed = {name: fact for name, fact in signature.inputs.items() if name not in signature.defaults}
    if len(needed) == 1:
        ((name, fact),) = needed.items()
        yield f"input: {{name: {_word(name)}, dtype: {fact.dtype}, shape: {_shape(fact)}}}"
        if keys and fact.shape is not None:
            yield f"# The features must fill {_columns(fact)} columns: leave out what the model was not trained on."
        return
    yield "inputs:   # decide: which features fill which input, in the order of its columns"
    for name, fact in needed.items():
        known = keys or [text.split(",")[0].removeprefix("name: ") for text in _from_tensor(name, fact)]
        yield f"  {_word(name)}: {{dtype: {fact.dtype}, shape: {_shape(fact)}, features: {_flow(known)}}}"


def _output(signature: SignatureFact) -> Iterator[str]:
    name, fact = next(iter(signature.outputs.items()))
    others = [other for other in signature.outputs if other != name]
    last = fact.shape[1] if fact.shape is not None and len(fact.shape) == 2 else 1
    yield "output:"
    yield f"  name: {_word(name)}" + (f"   # decide: or {', '.join(others)}" if others else "")
    if "float" not in fact.dtype:
        yield "  kind: raw"
    elif last > 1:
        yield "  kind: classification   # decide: or raw"
        yield f"  labels: {_flow([f'label_{index}' for index in range(last)])}   # decide: their names"
        yield "  activation: none   # decide: softmax or sigmoid, if the model gives logits"
    else:
        yield "  kind: regression   # decide: or binary, with labels"
    if others:
        yield f"# pass_through: {_flow(others)}"


def _shape(fact: TensorFact) -> str:
    return str([-1, *(max(size, 1) for size in (fact.shape or (-1, 1))[1:])])


def _flow(words: list[str]) -> str:
    return f"[{', '.join(map(_word, words))}]"


def _word(text: str) -> str:
    """Text as YAML takes it for text: quoted unless it is a plain name."""
    plain = text.replace("_", "a").replace("-", "a").isalnum() and text.isascii() and text[0].isalpha()
    return text if plain and text.lower() not in _NOT_TEXT else json.dumps(text, ensure_ascii=False)


_NOT_TEXT: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
