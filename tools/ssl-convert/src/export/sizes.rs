//! Sizes that depend on symbolic dims, as nodes that compute them from the shapes of the inputs, each once.

use crate::export::writer::{Writer, int};
use crate::onnx::proto::{AttributeProto, data_type};
use sslm_format::{Algebra, Extent};

/// A list of one integer.
pub(crate) struct Size {
    name: String,
    /// Whether it may be below 0, as far as that is seen.
    may_be_negative: bool,
}

impl Writer {
    /// A list of integers.
    pub(crate) fn sizes(&mut self, extents: &[Extent]) -> String {
        if let Some(known) = extents.iter().map(Extent::integer).collect::<Option<Vec<i64>>>() {
            return self.integers(&known);
        }
        let names: Vec<String> = extents.iter().map(|extent| extent.evaluate(self).name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.once("Concat", &names, vec![int("axis", 0)])
    }

    /// An integer.
    pub(crate) fn size(&mut self, extent: &Extent) -> String {
        let list = extent.evaluate(self).name;
        self.once("Squeeze", &[&list], vec![])
    }

    /// The output of a node that is added if there is no such node yet. Its attributes are integers.
    fn once(&mut self, op: &'static str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        let key = (op, inputs.iter().map(|&s| s.to_owned()).collect(), attribute.iter().map(|a| a.i).collect());
        if let Some(name) = self.computed.get(&key) {
            return name.clone();
        }
        let name = self.make(op, inputs, attribute);
        self.computed.insert(key, name.clone());
        name
    }

    fn of_two(&mut self, op: &'static str, a: &Size, b: &Size, may_be_negative: bool) -> Size {
        Size { name: self.once(op, &[&a.name, &b.name], vec![]), may_be_negative }
    }
}

impl Algebra for Writer {
    type Element = Size;

    fn integer(&mut self, integer: i64) -> Size {
        Size { name: self.integers(&[integer]), may_be_negative: integer < 0 }
    }

    fn symbol(&mut self, name: &str) -> Size {
        // The format has no other symbols than dims of inputs.
        let (input, axis) = self.symbols.get(name).cloned().unwrap_or_default();
        let name = self.once("Shape", &[&input], vec![int("start", axis), int("end", axis + 1)]);
        Size { name, may_be_negative: false }
    }

    fn sum(&mut self, a: Size, b: Size) -> Size {
        self.of_two("Add", &a, &b, a.may_be_negative || b.may_be_negative)
    }

    fn product(&mut self, a: Size, b: Size) -> Size {
        self.of_two("Mul", &a, &b, a.may_be_negative || b.may_be_negative)
    }

    /// ONNX rounds quotients towards zero, which is down only where nothing is negative.
    fn quotient(&mut self, a: Size, b: Size) -> Size {
        let may_be_negative = a.may_be_negative || b.may_be_negative;
        if !may_be_negative {
            return self.of_two("Div", &a, &b, false);
        }
        let rest = self.of_two("Mod", &a, &b, true);
        let whole = self.of_two("Sub", &a, &rest, true);
        self.of_two("Div", &whole, &b, true)
    }

    fn least(&mut self, a: Size, b: Size) -> Size {
        self.of_two("Min", &a, &b, a.may_be_negative || b.may_be_negative)
    }

    fn greatest(&mut self, a: Size, b: Size) -> Size {
        self.of_two("Max", &a, &b, a.may_be_negative && b.may_be_negative)
    }

    fn scaled(&mut self, a: Size, factor: f32) -> Size {
        let to = |elements: i32| vec![int("to", elements.into())];
        let real = self.once("Cast", &[&a.name], to(data_type::FLOAT));
        let factor = self.floats(&[1], [factor]);
        let product = self.once("Mul", &[&real, &factor], vec![]);
        let whole = self.once("Floor", &[&product], vec![]);
        Size { name: self.once("Cast", &[&whole], to(data_type::INT64)), may_be_negative: a.may_be_negative }
    }
}
