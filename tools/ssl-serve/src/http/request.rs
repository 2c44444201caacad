//! Requests for an inference over HTTP: JSON, behind which tensors may follow as binary data.

use crate::failure::{Failure, Kind};
use crate::server::{Wanted, check_id};
use crate::tensors::{self, Tensor};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// What a client asks for.
pub(crate) struct InferRequest {
    pub(crate) id: Option<String>,
    pub(crate) inputs: Vec<Tensor>,
    /// All outputs, if empty.
    pub(crate) outputs: Vec<Wanted>,
    /// Of each output of `outputs`, or of all if there is none: whether it goes behind the JSON as bytes.
    pub(crate) binary: Vec<bool>,
    /// The same for outputs that were not named.
    pub(crate) binary_else: bool,
    pub(crate) timeout: Option<Duration>,
}

#[derive(Deserialize)]
struct Json {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(deserialize_with = "few")]
    inputs: Vec<Input>,
    #[serde(default, deserialize_with = "few")]
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    #[serde(deserialize_with = "few")]
    shape: Vec<usize>,
    datatype: String,
    #[serde(default)]
    parameters: Parameters,
    data: Option<Numbers>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

/// The parameters that are known. Others may be anything: they are read over, and nothing of them is kept.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Parameters {
    timeout: Option<Parameter>,
    binary_data_output: Option<Parameter>,
    binary_data_size: Option<Parameter>,
    binary_data: Option<Parameter>,
    classification: Option<Parameter>,
}

/// The value of a parameter, of which only those that some parameter has are kept.
enum Parameter {
    Flag(bool),
    Whole(u64),
    Other(&'static str),
}

/// Reads a request whose JSON has `json_len` bytes, or all where that is not said.
pub(crate) fn read(body: &Bytes, json_len: Option<usize>) -> Result<InferRequest, Failure> {
    let json_len = json_len.unwrap_or(body.len());
    if json_len > body.len() {
        return Err(Failure::input(INFERENCE_HEADER, format!("at most the {} bytes of the body", body.len()), json_len));
    }
    let json: Json = parsed(&body[..json_len])?;
    check_id(json.id.as_deref().unwrap_or_default())?;
    let mut rest = body.slice(json_len..);
    let inputs = json.inputs.into_iter().map(|input| input.tensor(&mut rest)).collect::<Result<Vec<Tensor>, Failure>>()?;
    if !rest.is_empty() {
        return Err(Failure::input(
            "binary data",
            "as much as inputs have by 'binary_data_size'",
            format!("{} bytes more", rest.len()),
        ));
    }
    let binary_else = flag(&json.parameters.binary_data_output, "binary_data_output")?.unwrap_or(false);
    let binary = |output: &Output| Ok(flag(&output.parameters.binary_data, "binary_data")?.unwrap_or(binary_else));
    let wanted =
        |output: &Output| Ok(Wanted::new(output.name.clone(), whole(&output.parameters.classification, "classification")?));
    Ok(InferRequest {
        id: json.id,
        inputs,
        outputs: json.outputs.iter().map(wanted).collect::<Result<_, Failure>>()?,
        binary: json.outputs.iter().map(binary).collect::<Result<_, Failure>>()?,
        binary_else,
        timeout: whole(&json.parameters.timeout, "timeout")?.filter(|&us| us > 0).map(Duration::from_micros),
    })
}

/// How many bytes of a body are JSON.
pub(crate) const INFERENCE_HEADER: &str = "inference-header-content-length";

/// JSON of a request.
pub(crate) fn parsed<T: DeserializeOwned>(json: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|e| Failure::new(Kind::Invalid, format!("the request's JSON: {e}")))
}

impl Input {
    /// The tensor, whose bytes are the next of `rest` if it says so.
    fn tensor(self, rest: &mut Bytes) -> Result<Tensor, Failure> {
        let Input { name, shape, datatype, parameters, data } = self;
        match (data, whole(&parameters.binary_data_size, "binary_data_size")?) {
            (Some(numbers), None) => {
                if let Some(lens) = numbers.nested.filter(|lens| *lens != shape) {
                    let what = format!("data of input '{name}'");
                    return Err(Failure::input(what, format!("lists as shape {shape:?} has them, or one"), format!("{lens:?}")));
                }
                tensors::of_numbers(name, shape, &datatype, &numbers.all)
            }
            (None, Some(size)) => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                if size > rest.len() {
                    let what = format!("binary data of input '{name}'");
                    return Err(Failure::input(what, format!("{size} bytes"), rest.len()));
                }
                tensors::of_bytes(name, shape, &datatype, rest.split_to(size))
            }
            (Some(_), Some(_)) => Err(Failure::input(format!("input '{name}'"), "'data' or 'binary_data_size'", "both")),
            (None, None) => Err(Failure::input(format!("input '{name}'"), "'data' or 'binary_data_size'", "neither")),
        }
    }
}

fn flag(parameter: &Option<Parameter>, name: &str) -> Result<Option<bool>, Failure> {
    match parameter {
        None => Ok(None),
        Some(Parameter::Flag(flag)) => Ok(Some(*flag)),
        Some(other) => Err(Failure::input(format!("parameter '{name}'"), "true or false", other)),
    }
}

fn whole(parameter: &Option<Parameter>, name: &str) -> Result<Option<u64>, Failure> {
    match parameter {
        None => Ok(None),
        Some(Parameter::Whole(number)) => Ok(Some(*number)),
        Some(other) => Err(Failure::input(format!("parameter '{name}'"), "a whole number that is not negative", other)),
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Parameter::Flag(flag) => write!(f, "{flag}"),
            Parameter::Whole(number) => write!(f, "{number}"),
            Parameter::Other(what) => f.write_str(what),
        }
    }
}

impl<'de> Deserialize<'de> for Parameter {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Parameter;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a parameter")
            }

            fn visit_bool<E: Error>(self, flag: bool) -> Result<Parameter, E> {
                Ok(Parameter::Flag(flag))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Parameter, E> {
                Ok(Parameter::Whole(number))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Parameter, E> {
                Ok(Parameter::Other("a negative number"))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Parameter, E> {
                Ok(Parameter::Other(match number {
                    _ if number < 0.0 => "a negative number",
                    // Whole numbers of more than 64 bits are read so, too.
                    _ if number >= u64::MAX as f64 => "a number of more than 64 bits",
                    _ => "a number with a fraction or an exponent",
                }))
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Parameter, E> {
                Ok(Parameter::Other("a text"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Parameter, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Parameter::Other("a list"))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameter, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Parameter::Other("an object"))
            }
        }
        from.deserialize_any(Any)
    }
}

/// Inputs or outputs that a request may name, and axes that these may have.
const MANY: usize = 1024;

/// A list of at most [`MANY`]: what describes one takes many times the memory of its JSON.
fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    struct Few<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Few<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MANY}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = list.next_element()? {
                if all.len() == MANY {
                    return Err(A::Error::custom(format!("expected a list of at most {MANY}, found more")));
                }
                all.push(one);
            }
            Ok(all)
        }
    }
    from.deserialize_seq(Few(PhantomData))
}

/// Numbers, flat or in lists of lists.
struct Numbers {
    all: Vec<f64>,
    /// The lengths of the lists, where there are lists in lists.
    nested: Option<Vec<usize>>,
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut collected = Collected::default();
        from.deserialize_any(Level { depth: 0, collected: &mut collected })?;
        let nested = (collected.lens.len() > 1).then(|| collected.lens.into_iter().flatten().collect());
        Ok(Numbers { all: collected.all, nested })
    }
}

#[derive(Default)]
struct Collected {
    all: Vec<f64>,
    /// How long lists are, by depth; `None` until one ends.
    lens: Vec<Option<usize>>,
    /// At which depth numbers stand.
    depth: Option<usize>,
}

/// Reads a number or a list, inside so many lists.
struct Level<'a> {
    depth: usize,
    collected: &'a mut Collected,
}

impl Level<'_> {
    fn number<E: Error>(self, number: f64) -> Result<(), E> {
        if *self.collected.depth.get_or_insert(self.depth) != self.depth {
            return Err(E::custom("expected numbers that all stand in equally many lists"));
        }
        self.collected.all.push(number);
        Ok(())
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers, or lists of them")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.number(f64::from(u8::from(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.number(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.number(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.number(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Level { depth, collected } = self;
        if collected.lens.len() == depth {
            collected.lens.push(None);
        }
        let mut len = 0;
        while list.next_element_seed(Level { depth: depth + 1, collected })?.is_some() {
            len += 1;
        }
        if *collected.lens[depth].get_or_insert(len) != len {
            return Err(A::Error::custom("expected lists of equal lengths"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(json: &str) -> Result<Numbers, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn numbers_are_flat_or_nested() {
        let flat = numbers("[1, 2.5, true]").expect("numbers");
        assert_eq!((flat.all, flat.nested), (vec![1.0, 2.5, 1.0], None));
        let nested = numbers("[[1, 2], [3, 4], [5, 6]]").expect("numbers");
        assert_eq!((nested.all.len(), nested.nested), (6, Some(vec![3, 2])));
        for ragged in ["[[1, 2], [3]]", "[1, [2]]", "[[[1]], [2]]", "[\"1\"]", "[null]", "{}"] {
            assert!(numbers(ragged).is_err(), "{ragged}");
        }
        assert!(numbers(&("[".repeat(100_000) + &"]".repeat(100_000))).is_err(), "no deeper than the stack");
    }

    #[test]
    fn only_known_parameters_are_looked_at() {
        let of = |json: &str| read(&Bytes::from(json.to_owned()), None).map_err(|failure| format!("{failure:?}"));
        let lists = "[".repeat(100) + &"]".repeat(100);
        let request =
            of(&format!(r#"{{"parameters":{{"a":{lists},"b":{{"c":null}},"timeout":7}},"inputs":[]}}"#)).expect("sound");
        assert_eq!(request.timeout, Some(Duration::from_micros(7)));
        for (value, found) in [
            ("[7]", "a list"),
            ("{}", "an object"),
            ("-7", "a negative number"),
            ("-99999999999999999999", "a negative number"),
            ("0.5", "a fraction or an exponent"),
            ("99999999999999999999", "a number of more than 64 bits"),
            ("1e300", "a number of more than 64 bits"),
            ("true", "true"),
        ] {
            let message = of(&format!(r#"{{"parameters":{{"timeout":{value}}},"inputs":[]}}"#)).err().expect("no time");
            assert!(message.contains("parameter 'timeout': expected a whole number") && message.contains(found), "{message}");
        }
    }

    #[test]
    fn what_takes_much_memory_is_bounded() {
        let outputs = |count| format!(r#"{{"inputs":[],"outputs":[{}]}}"#, vec![r#"{"name":"y"}"#; count].join(","));
        assert_eq!(read(&outputs(MANY).into(), None).expect("sound").outputs.len(), MANY);
        assert!(read(&outputs(MANY + 1).into(), None).is_err());
        let id = |len| format!(r#"{{"id":"{}","inputs":[]}}"#, "i".repeat(len));
        assert!(read(&id(1024).into(), None).is_ok() && read(&id(1025).into(), None).is_err());
    }

    #[test]
    fn bytes_follow_the_json() {
        let json = br#"{"inputs":[{"name":"x","shape":[2],"datatype":"UINT8","parameters":{"binary_data_size":2}}]}"#;
        let body = Bytes::from([&json[..], &[7, 8]].concat());
        let request = read(&body, Some(json.len())).expect("a sound request");
        assert_eq!(request.inputs[0].bytes[..], [7, 8]);
        for (body, json_len) in [
            (body.slice(..body.len() - 1), json.len()),
            (Bytes::from([&json[..], &[7, 8, 9]].concat()), json.len()),
            (body.clone(), body.len() + 1),
        ] {
            assert!(read(&body, Some(json_len)).is_err(), "{json_len} of {}", body.len());
        }
    }
}
