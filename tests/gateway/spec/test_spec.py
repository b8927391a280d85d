"""features.yaml: what it accepts, and the sentence for each thing that it refuses."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.spec import FeatureSpec, FloatFeature, SpecProblem, check_signature, dump_spec, parse_spec, read_spec

LOAN = """
features:
  - name: income
    type: float
    required: true
    currency: {field: currency, to: USD}
    normalize: {mean: 52000, std: 21000}
    min: 0
  - {name: employment_years, type: float, default: 0, normalize: {mean: 6.1, std: 4.2}}
  - {name: purpose, type: category, vocabulary: [car, home, other], encoding: one_hot, unknown: other}
input: {name: inputs, dtype: float32, shape: [-1, 5]}
output: {name: output_0, kind: classification, labels: [deny, approve], activation: softmax, top_k: 2}
"""


@dataclass(frozen=True)
class Tensor:
    dtype: str
    shape: tuple[int, ...] | None


def spec_with(
    feature: str, *, dtype: str = "float32", shape: str = "[-1, 1]", output: str = "kind: raw"
) -> FeatureSpec:
    return parse_spec(
        f"features: [{{name: x, {feature}}}]\n"
        f"input: {{name: a, dtype: {dtype}, shape: {shape}}}\n"
        f"output: {{name: b, {output}}}\n"
    )


def test_a_spec_survives_being_written_into_the_gateway_config() -> None:
    spec = parse_spec(LOAN)
    assert [feature.width for feature in spec.features] == [1, 1, 3]
    assert read_spec(dump_spec(spec)) == spec


def test_exponents_without_a_dot_are_numbers() -> None:
    (feature,) = spec_with("type: float, normalize: {mean: 0, std: 1e-3}").features
    assert isinstance(feature, FloatFeature)
    assert feature.normalize is not None
    assert feature.normalize.std == 0.001


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("std: 21000", "sdt: 21000", "features[0].normalize: unknown key 'sdt'; did you mean 'std'?"),
        ("min: 0", "mni: 0", "features[0]: unknown key 'mni' for type float; did you mean 'min'?"),
        ("output:", "outputs:", "unknown key 'outputs'; did you mean 'output'?"),
        ("type: category", "type: categry", "features[2].type: unknown type 'categry'; did you mean 'category'?"),
        (
            "kind: classification",
            "kind: ranks",
            "output.kind: unknown kind 'ranks'; one of binary, classification, code, raw, regression",
        ),
        ("type: float", "",
         "features[0]: missing key 'type'; one of bool, category, code, cross, difference, "
         "float, image, int, list, ratio, string, timestamp, vector"),
        ("mean: 52000", "mean: a lot", "features[0].normalize.mean: Expected float, got str"),
        ("std: 21000", "std: 0", "features[0].normalize: std 0 must be above 0; leave a constant feature without "
         "normalize"),
        ("default: 0", "default: 0, required: true", "features[1]: feature 'employment_years': required together with "
         "default; keep one of the two"),
        ("default: 0", "required: false", "features[1]: feature 'employment_years': required false needs a default "
         "for records without it"),
        ("default: 0", "default: -1, min: 0", "features[1]: feature 'employment_years': default -1 is below min 0"),
        ("unknown: other", "unknown: boat", "features[2]: feature 'purpose': unknown 'boat' is not in the vocabulary"),
        ("[car, home, other]", "[]", "features[2]: feature 'purpose': encoding one_hot needs a vocabulary that is not "
         "empty"),
        ("[car, home, other]", "[car, car, other]", "features[2]: feature 'purpose': vocabulary must be unique, 'car' "
         "is there twice"),
        ("encoding: one_hot", "encoding: hash_bucket", "features[2]: feature 'purpose': encoding hash_bucket needs "
         "buckets"),
        ("encoding: one_hot", "encoding: index, buckets: 9", "features[2]: feature 'purpose': buckets belongs to "
         "encoding hash_bucket, not index"),
        ("[-1, 5]", "[-1, 6]", "input.shape [-1, 6] has 6 columns, the features fill 5 (income 1, employment_years 1, "
         "purpose 3)"),
        ("[-1, 5]", "[5]", "input: shape [5] must begin with -1, the number of records"),
        ("dtype: float32", "dtype: int64", "feature 'income' gives fractions and input.dtype is int64; use float32 or "
         "drop the transform"),
        ("dtype: float32", "dtype: string", "feature 'income' of type float cannot fill a string tensor"),
        ("top_k: 2", "top_k: 3", "output: top_k 3 is more than the 2 labels"),
        ("[deny, approve]", "[deny, deny]", "output: labels must be unique, 'deny' is there twice"),
        ("name: employment_years", "name: income", "features: names must be unique, 'income' is there twice"),
        ("field: currency", "field: income", "features[0]: feature 'income': currency.field must name another field "
         "of the record"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused_with_its_path(old: str, new: str, message: str) -> None:
    with pytest.raises(SpecProblem) as raised:
        parse_spec(LOAN.replace(old, new, 1))
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ("type: float, min: 2, max: 1", "features[0]: feature 'x': min 2 must be below max 1"),
        ("type: float, min: .nan", "features[0]: feature 'x': min must be a finite number, not nan"),
        ("type: float, log1p: true", "features[0]: feature 'x': log1p needs values above -1; state min or clip.min"),
        ("type: float, min_max: {min: 3, max: 3}", "features[0].min_max: min 3 must be below max 3"),
        ("type: float, clip: {}", "features[0].clip: clip needs min, max or both"),
        ("type: vector, length: 1, default: [1, 2]", "features[0]: feature 'x': default has 2 numbers, length is 1"),
        ("type: category, vocabulary: [a, 1]",
         "features[0].vocabulary[1]: Expected str, got int; put it in quotes, YAML reads it as a number"),
        ("type: category, encoding: index, text: {unicode: NFC}, vocabulary: [\u0065\u0301, b]",
         r"features[0]: feature 'x': 'e\u0301' of the vocabulary is never found, text makes '\xe9' of it"),
        ("type: ratio", "features[0]: missing key 'of'"),
        ("type: string", "feature 'x' of type string cannot fill a float32 tensor; give it type category"),
        ("type: category, encoding: hash_bucket, buckets: 4, vocabulary: [a]",
         "features[0]: feature 'x': encoding hash_bucket takes any word; vocabulary and unknown do not apply"),
        ("type: image, image: {width: 8, height: 4, channels: 1}",
         "input.shape [-1, 1] does not take the image; it must be [-1, 4, 8, 1] or [-1, 32] or [-1, 4, 8]"),
        ("type: image, required: false, image: {width: 1, height: 1, channels: 1}",
         "features[0]: feature 'x': an image has no default, so it cannot be left out"),
        ("type: float, log: true, min: 0", "features[0]: feature 'x': log needs values above 0; state min or clip.min"),
        ("type: float, sqrt: true", "features[0]: feature 'x': sqrt needs values of at least 0; state min or clip.min"),
        ("type: float, power: -1, min: 0",
         "features[0]: feature 'x': power needs values above 0; state min or clip.min"),
        ("type: float, power: 0", "features[0]: feature 'x': power 0 would make every value 1"),
        ("type: float, log: true, sqrt: true, min: 1",
         "features[0]: feature 'x': log and sqrt exclude each other; keep one of the two"),
        ("type: float, normalize: {mean: 0, std: 1}, bucketize: {boundaries: [1]}",
         "features[0]: feature 'x': normalize and bucketize exclude each other; keep one of the two"),
        ("type: float, bucketize: {boundaries: [1, 1]}",
         "features[0].bucketize: boundaries: 1 must be below the next one, 1"),
        ("type: float, missing: {}", "features[0].missing: missing needs value, mean or flag"),
        ("type: float, missing: {mean: true}", "features[0]: feature 'x': missing.mean is the mean of normalize, which "
         "needs to be there without a curve"),
        ("type: float, default: 1, missing: {value: 1}", "features[0]: feature 'x': missing together with default; "
         "missing.value stands in for null and for no key"),
        ("type: int, missing: {value: 1.5}", "features[0]: feature 'x': missing.value 1.5 is not a whole number"),
        ("type: timestamp, parts: [hour], timezone: Mars/Base",
         "features[0]: feature 'x': there is no time zone 'Mars/Base'; they are named as Europe/Paris"),
        ("type: timestamp, parts: [elapsed]", "features[0]: feature 'x': part elapsed and since belong together"),
        ("type: timestamp, parts: [hour, day], min: 1", "features[0]: feature 'x': transforms apply to one part, it "
         "has 2; make one feature of each"),
        ("type: timestamp, parts: [hours]", "features[0].parts[0]: Invalid enum value 'hours'"),
        ("type: list, items: {type: number}", "features[0]: feature 'x': a list needs length, the number of its "
         "columns"),
        ("type: list, length: 2, items: {type: category, vocabulary: [a]}", "features[0]: feature 'x': a multi-hot "
         "list has one column per word; length, pad and truncate do not apply"),
        ("type: list, length: 1, items: {type: words}",
         "features[0].items.type: unknown type 'words'; one of category, number"),
        ("type: list, length: 1, items: {type: number, log1p: true}",
         "features[0].items: items: log1p needs values above -1; state min or clip.min"),
        ("type: cross, of: [a], buckets: 9", "features[0].of: Expected array of length >= 2"),
        ("type: category, text: {case: lower}, vocabulary: [Car, b]",
         "features[0]: feature 'x': 'Car' of the vocabulary is never found, text makes 'car' of it"),
        ("type: category, hash: farmhash, vocabulary: [a]",
         "features[0]: feature 'x': hash belongs to encoding hash_bucket, not one_hot"),
        ("type: ratio, of: [a, b], field: c", "features[0]: feature 'x': 'of' names the fields, field does not apply"),
    ],
)  # fmt: skip
def test_what_contradicts_within_a_feature(feature: str, message: str) -> None:
    with pytest.raises(SpecProblem) as raised:
        spec_with(feature)
    assert str(raised.value) == message


def test_a_document_that_is_not_a_mapping_or_not_yaml_is_refused() -> None:
    with pytest.raises(SpecProblem, match="not valid YAML"):
        parse_spec("features: [")
    with pytest.raises(SpecProblem, match="Expected object, got array"):
        parse_spec("[1]")


def test_signature_that_fits() -> None:
    spec = parse_spec(LOAN)
    outputs = {"output_0": Tensor("float32", (-1, 2)), "embedding": Tensor("float32", (-1, 64))}
    check_signature(spec, {"inputs": Tensor("DT_FLOAT", (-1, 5))}, outputs)
    check_signature(spec, {"inputs": Tensor("float", None)}, {"output_0": Tensor("float32", None)})


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({"x": Tensor("float32", (-1, 5))}, None,
         "input.name: the spec fills 'inputs', the signature's inputs are 'x'"),
        ({"inputs": Tensor("int64", (-1, 5))}, None,
         "input.dtype: the spec fills 'inputs' with float32, the signature takes int64"),
        ({"inputs": Tensor("float32", (-1, 6))}, None,
         "input.shape: the spec makes [-1, 5], the signature takes [-1, 6] for 'inputs'"),
        ({"inputs": Tensor("float32", (4, 5))}, None,
         "input.shape: the spec makes [-1, 5], the signature takes [4, 5] for 'inputs'; export the model with an "
         "unknown batch dimension"),
        ({"inputs": Tensor("float32", (-1, 5)), "mask": Tensor("bool", (-1, 5))}, None,
         "input: the spec fills 'inputs' only, the signature also needs 'mask'"),
        (None, {"probs": Tensor("float32", (-1, 2))},
         "output.name: the spec reads 'output_0', the signature's outputs are 'probs'"),
        (None, {"output_0": Tensor("float32", (-1, 3))},
         "output.labels: the spec has 2 labels, the signature gives [-1, 3] for 'output_0'"),
        (None, {"output_0": Tensor("string", (-1, 2))},
         "output.kind: classification reads float scores, the signature gives string for 'output_0'"),
    ],
)  # fmt: skip
def test_signature_that_does_not_fit_names_both_sides(
    inputs: dict[str, Tensor] | None, outputs: dict[str, Tensor] | None, message: str
) -> None:
    inputs = inputs or {"inputs": Tensor("float32", (-1, 5))}
    outputs = outputs or {"output_0": Tensor("float32", (-1, 2))}
    with pytest.raises(SpecProblem) as raised:
        check_signature(parse_spec(LOAN), inputs, outputs)
    assert str(raised.value) == message


def test_one_number_per_record_is_what_binary_and_regression_read() -> None:
    inputs = {"a": Tensor("float32", (-1, 1))}
    for output in ("kind: regression", "kind: binary, labels: [no way, sure]"):
        spec = spec_with("type: float", output=output)
        check_signature(spec, inputs, {"b": Tensor("float32", (-1,))})
        check_signature(spec, inputs, {"b": Tensor("float32", (-1, 1))})
        with pytest.raises(SpecProblem, match=r"reads one number per record, the signature gives \[-1, 2\] for 'b'"):
            check_signature(spec, inputs, {"b": Tensor("float32", (-1, 2))})


FRAUD = """
features:
  - {name: amount, type: float, log1p: true, min: 0}
  - {name: hour, type: timestamp, field: at, parts: [hour_sin, hour_cos]}
  - {name: merchant, type: string}
inputs:
  numbers: {dtype: float32, shape: [-1, 3], features: [amount, hour]}
  words: {dtype: string, shape: [-1, 1], features: [merchant]}
output: {name: fraud, kind: binary, labels: [honest, fraud]}
pass_through: [embedding]
ignore: [user_id]
"""


def test_several_inputs_take_their_features_in_their_own_order() -> None:
    spec = parse_spec(FRAUD.replace("[amount, hour]", "[hour, amount]"))
    assert [(tensor.name, tensor.dtype, tensor.width) for tensor in spec.tensors()] == [
        ("numbers", "float32", 3),
        ("words", "string", 1),
    ]
    assert [feature.name for feature in spec.tensors()[0].features] == ["hour", "amount"]
    assert spec.keys == {"amount", "at", "merchant"}
    assert read_spec(dump_spec(spec)) == spec


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[merchant]}", "[merchnt]}", "inputs.words: there is no feature 'merchnt'; did you mean 'merchant'?"),
        ("[amount, hour]", "[hour]", "feature 'amount' fills no input; name it in one, or leave it out"),
        ("shape: [-1, 3]", "shape: [-1, 4]", "inputs.numbers.shape [-1, 4] has 4 columns, the features fill 3 (amount "
         "1, hour 2)"),
        ("dtype: string", "dtype: int64", "feature 'merchant' of type string cannot fill a int64 tensor; give it type "
         "category"),
        ("[user_id]", "[at]", "ignore: 'at' is read by a feature"),
        ("[embedding]", "[fraud]", "output.name and pass_through: must be unique, 'fraud' is there twice"),
        ("inputs:", "input: {name: x, dtype: float32, shape: [-1, 4]}\ninputs:",
         "exactly one of input and inputs is needed"),
    ],
)  # fmt: skip
def test_inputs_that_contradict_the_features(old: str, new: str, message: str) -> None:
    with pytest.raises(SpecProblem) as raised:
        parse_spec(FRAUD.replace(old, new, 1))
    assert str(raised.value) == message


def test_all_that_does_not_fit_the_signature_is_reported_at_once() -> None:
    inputs = {
        "numbers": Tensor("float64", (-1, 2)),
        "threshold": Tensor("float32", (-1, 1)),
        "mask": Tensor("bool", ()),
    }
    with pytest.raises(SpecProblem) as raised:
        check_signature(parse_spec(FRAUD), inputs, {"fraud": Tensor("float32", (-1, 1))}, {"threshold"})
    assert str(raised.value).split("; ") == [
        "inputs.numbers.dtype: the spec fills 'numbers' with float32, the signature takes float64",
        "inputs.numbers.shape: the spec makes [-1, 3], the signature takes [-1, 2] for 'numbers'",
        "inputs.words: the spec fills 'words', the signature's inputs are 'mask', 'numbers', 'threshold'",
        "inputs: the spec fills 'numbers', 'words' only, the signature also needs 'mask'",
        "pass_through: the spec names 'embedding', the signature's outputs are 'fraud'",
    ]


@pytest.mark.parametrize(
    ("lookup", "message"),
    [
        ("{key: id, features: [amont], on_miss: error}",
         "lookup.features: no feature reads 'amont'; did you mean 'amount'?"),
        ("{key: id, features: [amount]}",
         "feature 'amount' is looked up with on_miss default, so it needs default or missing"),
        ("{key: amount, features: [amount]}", "lookup: 'amount' is the key, it cannot be looked up by itself"),
    ],
)  # fmt: skip
def test_lookups_that_contradict_the_features(lookup: str, message: str) -> None:
    with pytest.raises(SpecProblem) as raised:
        parse_spec(f"{FRAUD}lookup: {lookup}\n")
    assert str(raised.value) == message
