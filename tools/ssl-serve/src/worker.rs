//! Threads that run what waits: one request, or several that are joined to a batch and taken apart again.

use crate::failure::{Failure, Kind};
use crate::measured::Ran;
use crate::queue::{Answer, Batch, Job, Queue};
use crate::scheduling::Turn;
use crate::served::Served;
use crate::tensors::Tensor;
use bytes::Bytes;
use sslm::{Interrupt, Outputs, TypedView};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// Starts so many workers. They end when the queue is closed and empty.
pub(crate) fn start(count: usize, queue: &Arc<Queue>) -> std::io::Result<Vec<JoinHandle<()>>> {
    let start = |index| {
        let queue = Arc::clone(queue);
        std::thread::Builder::new().name(format!("ssl-worker-{index}")).spawn(move || work(&queue))
    };
    (0..count).map(start).collect()
}

fn work(queue: &Queue) {
    let mut turn = Turn::begin();
    while let Some(batch) = queue.take() {
        // A defect ends the requests that met it, whose clients are told so, and no others.
        let _ = catch_unwind(AssertUnwindSafe(|| run(batch)));
        turn.between_runs();
    }
}

fn run(batch: Batch) {
    let begun = Instant::now();
    let served = Arc::clone(&batch.jobs[0].served);
    let images: usize = batch.jobs.iter().map(Job::images).sum();
    let span =
        tracing::debug_span!(parent: &batch.jobs[0].span, "inference", model = served.name, version = served.version, images);
    for job in &batch.jobs[1..] {
        span.follows_from(&job.span);
    }
    let _span = span.entered();
    for job in &batch.jobs {
        served.measured.waited.observe(begun.duration_since(job.since).as_secs_f64());
    }
    let answers = match &batch.jobs[..] {
        [job] => vec![alone(&served, &job.inputs, &batch.interrupt)],
        jobs => match joined(&served, jobs, &batch.interrupt) {
            Ok(outputs) => outputs.into_iter().map(Ok).collect(),
            // Whose fault it is shows alone.
            Err(failure) if failure.kind == Kind::Invalid => {
                jobs.iter().map(|job| alone(&served, &job.inputs, &batch.interrupt)).collect()
            }
            Err(failure) => jobs.iter().map(|_| Err(failure.clone())).collect(),
        },
    };
    let ran = batch.jobs.iter().zip(&answers).map(|(job, answer)| Ran {
        images: job.images(),
        waited: begun.duration_since(job.since),
        is_success: answer.is_ok(),
    });
    served.measured.ran(begun.elapsed(), ran);
    for (job, answer) in batch.jobs.into_iter().zip(answers) {
        job.answer(answer);
    }
}

/// A request as it came.
fn alone(served: &Served, inputs: &[Tensor], interrupt: &Interrupt) -> Answer {
    let shapes: Vec<&[usize]> = inputs.iter().map(|input| &input.shape[..]).collect();
    let bytes: Vec<&[u8]> = inputs.iter().map(|input| &input.bytes[..]).collect();
    yielded(served, &shapes, &bytes, interrupt, |outputs| {
        let tensor = |index| -> Result<Tensor, Failure> {
            let info = &served.outputs[index];
            let shape = outputs.get(index).map(|output| output.shape().to_vec()).unwrap_or_default();
            let bytes = Bytes::from(outputs.typed_bytes(index)?);
            Ok(Tensor { name: info.name.clone(), shape, element_type: info.element_type, bytes })
        };
        (0..outputs.len()).map(tensor).collect()
    })
}

/// Several requests as one batch, in parts whose sizes are powers of two, so that few plans serve all of them.
fn joined(served: &Served, jobs: &[Job], interrupt: &Interrupt) -> Result<Vec<Vec<Tensor>>, Failure> {
    let images: usize = jobs.iter().map(Job::images).sum();
    // Of each input, and later of each output, all images.
    let whole = |index: usize| jobs.iter().map(|job| &job.inputs[index].bytes[..]).collect::<Vec<_>>().concat();
    let inputs: Vec<Vec<u8>> = (0..served.inputs.len()).map(whole).collect();
    let mut outputs: Vec<(Vec<usize>, Vec<u8>)> = vec![Default::default(); served.outputs.len()];
    let mut begin = 0;
    while begin < images {
        let part = 1 << (images - begin).ilog2();
        let shape = |input: &Tensor| [&[part], &input.shape[1..]].concat();
        let shapes: Vec<Vec<usize>> = jobs[0].inputs.iter().map(shape).collect();
        let slice = |bytes: &'_ Vec<u8>| begin * (bytes.len() / images)..(begin + part) * (bytes.len() / images);
        let bytes: Vec<&[u8]> = inputs.iter().map(|bytes| &bytes[slice(bytes)]).collect();
        yielded(served, &shapes, &bytes, interrupt, |found| {
            for (index, (shape, bytes)) in outputs.iter_mut().enumerate() {
                let extents = found.get(index).map(|output| output.shape().to_vec()).unwrap_or_default();
                if extents.first() != Some(&part) {
                    return Err(Failure::new(Kind::Invalid, format!("output {index} has no axis of images")));
                }
                *shape = extents;
                bytes.extend(found.typed_bytes(index)?);
            }
            Ok(())
        })?;
        begin += part;
    }
    let outputs: Vec<(Vec<usize>, Bytes)> = outputs.into_iter().map(|(shape, bytes)| (shape, bytes.into())).collect();
    let mut begin = 0;
    let of_job = |job: &Job| {
        let own = job.images();
        let tensor = |(info, (shape, bytes)): (&sslm::TensorInfo, &(Vec<usize>, Bytes))| {
            let image = bytes.len() / images;
            let shape = [&[own], &shape[1..]].concat();
            let bytes = bytes.slice(begin * image..(begin + own) * image);
            Tensor { name: info.name.clone(), shape, element_type: info.element_type, bytes }
        };
        let tensors = served.outputs.iter().zip(&outputs).map(tensor).collect();
        begin += own;
        tensors
    };
    Ok(jobs.iter().map(of_job).collect())
}

/// Runs inputs of these shapes, and passes on what the model yields for them.
fn yielded<S: AsRef<[usize]>, T>(
    served: &Served,
    shapes: &[S],
    bytes: &[&[u8]],
    interrupt: &Interrupt,
    take: impl FnOnce(Outputs<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut session = served.session(shapes)?;
    session.set_interrupt(interrupt);
    let both = served.inputs.iter().zip(shapes).zip(bytes);
    let views = both.map(|((info, shape), bytes)| TypedView::from_bytes(shape.as_ref(), info.element_type, bytes));
    let outputs = session.run_typed(&views.collect::<sslm::Result<Vec<_>>>()?)?;
    served.model.ensure_unchanged()?;
    take(outputs)
}
