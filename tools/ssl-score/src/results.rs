//! What the rows of results are made of: the likeliest classes of an image, or all that the model yields for it.

use anyhow::{Context, Result, ensure};
use arrow_array::builder::{Float32Builder, Int32Builder, StringBuilder};
use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array};
use arrow_buffer::NullBuffer;
use arrow_cast::cast;
use arrow_schema::{DataType, Field, FieldRef};
use serde_json::{Value, json};
use ssl_images::{Class, is_one_a_class, likeliest};
use sslm::{ElementType, Model};
use std::collections::HashMap;
use std::sync::Arc;

/// What a row holds, besides its key and its error.
pub(crate) enum Results {
    Classes { top: usize, count: usize, labels: Vec<String>, are_probabilities: bool },
    Tensors(Vec<Tensor>),
}

/// An output of a model.
pub(crate) struct Tensor {
    name: String,
    element_type: ElementType,
    /// Without the batch.
    shape: Vec<usize>,
}

impl Results {
    /// What is asked for of a model whose outputs have these shapes, as far as they are known; their first axis is the batch.
    pub(crate) fn new(model: &Model, shapes: &[Vec<Option<usize>>], top: Option<usize>, is_raw: bool) -> Result<Self> {
        let one_a_class = match shapes {
            [shape] => of_one_image(shape).filter(|shape| is_one_a_class(&[&[1], &shape[..]].concat())),
            _ => None,
        };
        let shown = || {
            let extent = |extent: &Option<usize>| extent.map_or("?".to_owned(), |extent| extent.to_string());
            let shape = |shape: &Vec<Option<usize>>| format!("[{}]", shape.iter().map(extent).collect::<Vec<_>>().join(", "));
            shapes.iter().map(shape).collect::<Vec<_>>().join(" and ")
        };
        let (labels, are_probabilities) = (model.labels().to_vec(), model.yields_probabilities());
        let are_classes = top.is_some() || are_probabilities || !labels.is_empty();
        if are_classes
            && !is_raw
            && let Some(shape) = &one_a_class
        {
            let count = shape.iter().product();
            return Ok(Results::Classes { top: top.unwrap_or(1).min(shape[0]), count, labels, are_probabilities });
        }
        ensure!(top.is_none(), "--top: expected a model with one output of one number a class, found {}", shown());
        let infos = model.output_names().into_iter().zip(model.output_types()).zip(shapes);
        let tensor = |((name, element_type), shape): ((&str, ElementType), &Vec<Option<usize>>)| {
            let sizes = "expected outputs of one size, a row for each image";
            let shape = of_one_image(shape).with_context(|| {
                format!("output '{name}': {sizes}, found {} (ssl-convert --dim NAME=SIZE fixes the size of images)", shown())
            })?;
            let size = shape.iter().try_fold(1usize, |size, &extent| size.checked_mul(extent));
            ensure!(
                size.is_some_and(|size| i32::try_from(size).is_ok()),
                "output '{name}': more elements than a column holds of a row"
            );
            Ok(Tensor { name: name.to_owned(), element_type, shape })
        };
        Ok(Results::Tensors(infos.map(tensor).collect::<Result<_>>()?))
    }

    pub(crate) fn fields(&self) -> Vec<Field> {
        match self {
            Results::Classes { top, labels, .. } => {
                let of_class = |i: usize| {
                    let label = (!labels.is_empty()).then(|| Field::new(format!("label_{i}"), DataType::Utf8, true));
                    let number = |name: &str, of| Field::new(format!("{name}_{i}"), of, true);
                    let numbers = [number("probability", DataType::Float32), number("output", DataType::Float32)];
                    [number("index", DataType::Int32)].into_iter().chain(label).chain(numbers)
                };
                (1..=*top).flat_map(of_class).collect()
            }
            Results::Tensors(tensors) => tensors.iter().map(Tensor::field).collect(),
        }
    }

    /// What a run is known by that yields the same.
    pub(crate) fn describe(&self) -> Value {
        match self {
            Results::Classes { top, .. } => json!({ "top": top }),
            Results::Tensors(_) => json!("raw"),
        }
    }

    /// How many elements each output has for one image.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        match self {
            Results::Classes { count, .. } => vec![*count],
            Results::Tensors(tensors) => tensors.iter().map(|tensor| tensor.size() as usize).collect(),
        }
    }

    /// Columns of the classes of each row; of none for errors.
    fn of_classes(rows: &[Vec<Class>], top: usize, labels: &[String]) -> Vec<ArrayRef> {
        let mut columns: Vec<ArrayRef> = Vec::new();
        for place in 0..top {
            let (mut index, mut label) = (Int32Builder::new(), StringBuilder::new());
            let (mut probability, mut output) = (Float32Builder::new(), Float32Builder::new());
            for class in rows.iter().map(|classes| classes.get(place)) {
                index.append_option(class.map(|class| class.index as i32));
                label.append_option(class.and_then(|class| labels.get(class.index)));
                probability.append_option(class.map(|class| class.probability));
                output.append_option(class.map(|class| class.output));
            }
            columns.push(Arc::new(index.finish()));
            if !labels.is_empty() {
                columns.push(Arc::new(label.finish()));
            }
            columns.push(Arc::new(probability.finish()));
            columns.push(Arc::new(output.finish()));
        }
        columns
    }

    /// Columns of what the model yields: of each output, the elements of all images, one behind the other, of which those of images that have
    /// errors do not count. An image of which nothing can be said gets an error.
    pub(crate) fn of_outputs(&self, outputs: &[&[f32]], errors: &mut [Option<String>]) -> Result<Vec<ArrayRef>> {
        match self {
            Results::Classes { top, count, labels, are_probabilities } => {
                let mut rows = Vec::new();
                let elements = outputs.first().context("the model has an output")?;
                for (image, error) in elements.chunks(*count).zip(errors) {
                    let classes = if error.is_some() { Ok(Vec::new()) } else { likeliest(image, *are_probabilities, *top) };
                    rows.push(classes.unwrap_or_else(|e| {
                        *error = Some(ssl_cli::message(&e));
                        Vec::new()
                    }));
                }
                Ok(Self::of_classes(&rows, *top, labels))
            }
            Results::Tensors(tensors) => {
                let valid: Vec<bool> = errors.iter().map(Option::is_none).collect();
                tensors.iter().zip(outputs).map(|(tensor, elements)| tensor.column(elements, &valid)).collect()
            }
        }
    }
}

/// The shape of an output for one image of the batch, if it is known.
fn of_one_image(shape: &[Option<usize>]) -> Option<Vec<usize>> {
    shape.split_first()?.1.iter().copied().collect()
}

impl Tensor {
    /// How many elements there are of one image.
    fn size(&self) -> i32 {
        self.shape.iter().product::<usize>() as i32
    }

    fn item(&self) -> FieldRef {
        let of = match self.element_type {
            ElementType::F32 => DataType::Float32,
            ElementType::F16 => DataType::Float16,
            ElementType::F64 => DataType::Float64,
            ElementType::U8 => DataType::UInt8,
            ElementType::I8 => DataType::Int8,
            ElementType::U16 => DataType::UInt16,
            ElementType::I16 => DataType::Int16,
            ElementType::U32 => DataType::UInt32,
            ElementType::I32 => DataType::Int32,
            ElementType::U64 => DataType::UInt64,
            ElementType::I64 => DataType::Int64,
            ElementType::Bool => DataType::Boolean,
        };
        Arc::new(Field::new_list_field(of, false))
    }

    /// Its column: of tensors of a fixed shape, as Arrow's extension of that name has them. Other libraries refuse what the crate writes
    /// of it, which has members that are null.
    fn field(&self) -> Field {
        let metadata =
            [("name", "arrow.fixed_shape_tensor".to_owned()), ("metadata", json!({ "shape": self.shape }).to_string())];
        let metadata = metadata.map(|(name, value)| (format!("ARROW:extension:{name}"), value));
        Field::new(&self.name, DataType::FixedSizeList(self.item(), self.size()), true)
            .with_metadata(metadata.into_iter().collect::<HashMap<_, _>>())
    }

    fn column(&self, elements: &[f32], valid: &[bool]) -> Result<ArrayRef> {
        let (item, rows) = (self.item(), valid.len() * self.size() as usize);
        // Elements of all types are such that `f32` has them exactly.
        let elements = cast(&Float32Array::from(elements[..rows].to_vec()), item.data_type())?;
        let nulls = NullBuffer::from(valid.to_vec());
        Ok(Arc::new(FixedSizeListArray::try_new(item, self.size(), elements, Some(nulls))?))
    }
}
