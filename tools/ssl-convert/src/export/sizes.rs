//! Sizes that depend on symbolic dims, as nodes that compute them from the shapes of the inputs.

use crate::export::writer::{Writer, int};
use crate::onnx::proto::data_type;
use sslm_format::{Algebra, Extent};

impl Writer {
    /// A list of integers.
    pub(crate) fn sizes(&mut self, extents: &[Extent]) -> String {
        if let Some(known) = extents.iter().map(Extent::integer).collect::<Option<Vec<i64>>>() {
            return self.integers(&known);
        }
        let names: Vec<String> = extents.iter().map(|extent| extent.evaluate(self)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.make("Concat", &names, vec![int("axis", 0)])
    }

    /// An integer.
    pub(crate) fn size(&mut self, extent: &Extent) -> String {
        let list = extent.evaluate(self);
        self.make("Squeeze", &[&list], vec![])
    }
}

/// Lists of one integer each.
impl Algebra for Writer {
    type Element = String;

    fn integer(&mut self, integer: i64) -> String {
        self.integers(&[integer])
    }

    fn symbol(&mut self, name: &str) -> String {
        // The format has no other symbols than dims of inputs.
        let (input, axis) = self.symbols.get(name).cloned().unwrap_or_default();
        self.make("Shape", &[&input], vec![int("start", axis), int("end", axis + 1)])
    }

    fn sum(&mut self, a: String, b: String) -> String {
        self.make("Add", &[&a, &b], vec![])
    }

    fn product(&mut self, a: String, b: String) -> String {
        self.make("Mul", &[&a, &b], vec![])
    }

    /// ONNX rounds quotients towards zero; sizes are not negative.
    fn quotient(&mut self, a: String, b: String) -> String {
        self.make("Div", &[&a, &b], vec![])
    }

    fn least(&mut self, a: String, b: String) -> String {
        self.make("Min", &[&a, &b], vec![])
    }

    fn greatest(&mut self, a: String, b: String) -> String {
        self.make("Max", &[&a, &b], vec![])
    }

    fn scaled(&mut self, a: String, factor: f32) -> String {
        let to = |elements: i32| vec![int("to", elements.into())];
        let real = self.make("Cast", &[&a], to(data_type::FLOAT));
        let factor = self.floats(&[1], [factor]);
        let product = self.make("Mul", &[&real, &factor], vec![]);
        let whole = self.make("Floor", &[&product], vec![]);
        self.make("Cast", &[&whole], to(data_type::INT64))
    }
}
