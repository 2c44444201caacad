//! What a model yields, in files.

use crate::Arguments;
use crate::inputs::is_archive;
use anyhow::{Context, Result, ensure};
use ssl_cli::PartialFile;
use ssl_npy::Array;
use sslm::{ElementType, Model, TensorView};

/// The file of --output, which appears when all is written.
pub(crate) struct Target<'a> {
    is_archive: bool,
    file: PartialFile,
    names: Vec<&'a str>,
    types: Vec<ElementType>,
}

impl<'a> Target<'a> {
    /// Before the work, so that a bad path costs no time; `None` without --output.
    pub(crate) fn new(arguments: &'a Arguments, model: &'a Model) -> Result<Option<Self>> {
        let Some(path) = arguments.output.as_deref() else { return Ok(None) };
        let (names, types) = (model.output_names(), model.output_types());
        ensure!(
            names.len() == 1 || is_archive(path),
            "--output {}: expected a file NAME.npz, which takes all {} outputs ('{}') by name",
            path.display(),
            names.len(),
            names.join("', '")
        );
        for (i, name) in names.iter().enumerate() {
            ensure!(
                names.len() == 1 || !names[..i].contains(name),
                "--output {}: expected outputs of different names, found '{name}' twice",
                path.display()
            );
        }
        Ok(Some(Target { is_archive: is_archive(path), file: ssl_cli::file_beside(path)?, names, types }))
    }

    /// Writes all outputs.
    pub(crate) fn write(mut self, outputs: Vec<Output>) -> Result<()> {
        let array = |(Output { shape, elements }, &element_type)| Array { shape, element_type, elements };
        let arrays: Vec<Array> = outputs.into_iter().zip(&self.types).map(array).collect();
        let to = std::io::BufWriter::new(&mut self.file);
        match &arrays[..] {
            [array] if !self.is_archive => ssl_npy::write(to, array)?,
            arrays => ssl_npy::write_all(to, self.names.iter().copied().zip(arrays))?,
        }
        ssl_cli::put_in_place(vec![self.file])
    }
}

/// One output of a model.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) shape: Vec<usize>,
    pub(crate) elements: Vec<f32>,
}

impl Output {
    /// All that a run yielded.
    pub(crate) fn of(view: TensorView<'_>) -> Output {
        Output { shape: view.shape().to_vec(), elements: view.data().to_vec() }
    }

    /// Appends the first `rows` of what a run yielded.
    pub(crate) fn append(&mut self, view: TensorView<'_>, rows: usize) -> Result<()> {
        let (&all, rest) = view.shape().split_first().context("expected a batch, found a scalar")?;
        let elements = &view.data()[..view.data().len() / all * rows];
        room_for(&mut self.elements, elements.len())?;
        self.elements.extend_from_slice(elements);
        let before = self.shape.first().copied().unwrap_or(0);
        self.shape = [&[before + rows], rest].concat();
        Ok(())
    }
}

/// Refuses what cannot be had, before it is made.
pub(crate) fn room_for(elements: &mut Vec<f32>, more: usize) -> Result<()> {
    elements.try_reserve(more).with_context(|| format!("memory for {more} elements cannot be had"))
}
