//! Moving channels against lists of them: a slip here gives every later layer the wrong plane.

use crate::common::{
    Choices, Expected, Guarded, POISON, check_all, compare, element, elements, every, in_blocks, plainly, refuses_other_lengths,
    run_everywhere, sample, task_on_devices, written,
};
use fastrand::Rng;
use sslm_kernels::channels::{ConcatTask, JoinTask, SelectTask, Source, insert, select};

#[derive(Debug)]
struct Selection {
    batch: usize,
    channels: usize,
    plane: usize,
    sources: Vec<Source>,
}

impl Selection {
    fn choose(c: &mut Choices) -> Self {
        let channels = c.of(&[0, 1, 2, 9]);
        let options: Vec<Source> =
            [-2.5, 0.0].map(Source::Constant).into_iter().chain((0..channels).map(Source::Channel)).collect();
        let sources = (0..c.of(&[0, 1, 3, 12])).map(|_| c.of(&options)).collect();
        Selection { batch: c.of(&[1, 2, 3]), channels, plane: c.of(&[1, 6, 35]), sources }
    }
}

#[test]
fn selections() {
    check_all(&sample(500, Selection::choose), |case| {
        let rng = &mut Rng::with_seed(16);
        // Only channels that are selected may be read.
        let mut plane = |channel: usize| -> Vec<f32> {
            let is_read = case.sources.contains(&Source::Channel(channel));
            (0..case.plane).map(|_| if is_read { element(rng) } else { POISON }).collect()
        };
        let images: Vec<Vec<Vec<f32>>> = (0..case.batch).map(|_| (0..case.channels).map(&mut plane).collect()).collect();
        let x: Guarded = images.iter().flatten().flatten().copied().collect();
        let mut expected = Vec::new();
        for image in &images {
            for source in &case.sources {
                match source {
                    Source::Constant(value) => expected.extend(vec![Expected::exactly(*value); case.plane]),
                    Source::Channel(channel) => expected.extend(image[*channel].iter().copied().map(Expected::exactly)),
                }
            }
        }
        let out = run_everywhere(expected.len(), |out, exec| select(&x, case.channels, case.plane, &case.sources, out, exec))?;
        compare(&out, &expected)?;
        let &Selection { batch: images, channels, plane, .. } = case;
        let task = SelectTask { images, channels, plane, sources: case.sources.clone() };
        task_on_devices(&expected, 1.0, &task, &[&x], &[])
    });
}

/// Channels from one on are taken, of blocks that begin there or not.
#[test]
fn selections_of_blocks() {
    let cases = every(|c| (c.of(&[1, 2]), c.of(&[0, 4, 5, 8, 16, 32]), c.of(&[1, 3, 4, 8, 16, 17, 40]), c.of(&[1, 6])));
    check_all(&cases, |&(images, first, count, plane)| {
        let channels = first + count + 3;
        let x: Guarded = elements(&mut Rng::with_seed(19), images * channels * plane);
        let sources: Vec<Source> = (first..first + count).map(Source::Channel).collect();
        let taken = |image: usize| &x[(image * channels + first) * plane..][..count * plane];
        let expected: Vec<Expected> = (0..images).flat_map(taken).map(|&x| Expected::exactly(x)).collect();
        let task = SelectTask { images, channels, plane, sources };
        in_blocks(&task, &[&x], &expected)?;
        task_on_devices(&expected, 1.0, &task, &[&x], &[])
    });
}

#[test]
fn joins_of_channels() {
    let cases = every(|c| (c.of(&[1, 2]), [c.of(&[4, 8, 16, 24]), c.of(&[8, 16, 32]), c.of(&[1, 16, 17])], c.of(&[1, 6])));
    check_all(&cases, |&(images, channels, plane)| {
        let rng = &mut Rng::with_seed(20);
        let parts: Vec<Guarded> = channels.iter().map(|channels| elements(rng, images * channels * plane)).collect();
        let of_image = |image: usize| {
            let part = move |(part, channels): (_, &usize)| -> Vec<f32> {
                let (part, len): (&Guarded, usize) = (part, channels * plane);
                part[image * len..][..len].to_vec()
            };
            parts.iter().zip(&channels).flat_map(part)
        };
        let expected: Vec<Expected> = (0..images).flat_map(of_image).map(Expected::exactly).collect();
        let parts: Vec<&[f32]> = parts.iter().map(|part| &**part).collect();
        let task = JoinTask { images, channels: channels.to_vec(), plane };
        in_blocks(&task, &parts, &expected)?;
        task_on_devices(&expected, 1.0, &task, &parts, &[])
    });
}

#[derive(Clone, Debug)]
struct Join {
    outer: usize,
    lens: [usize; 3],
}

#[test]
fn joins() {
    let cases = every(|c| Join { outer: c.of(&[0, 1, 3]), lens: [c.of(&[0, 1, 4]), c.of(&[0, 5]), c.of(&[0, 2, 7])] });
    check_all(&cases, |Join { outer, lens }| {
        let rng = &mut Rng::with_seed(17);
        let parts: Vec<Vec<Vec<f32>>> = lens.iter().map(|len| (0..*outer).map(|_| elements(rng, *len)).collect()).collect();
        let joined = |i: usize| parts.iter().flat_map(move |part| &part[i]).map(|&x| Expected::exactly(x));
        let expected: Vec<Expected> = (0..*outer).flat_map(joined).collect();
        let out = written(expected.len(), |out| {
            let mut offset = 0;
            for (part, len) in parts.iter().zip(lens) {
                let part: Guarded = part.iter().flatten().copied().collect();
                insert(&part, *len, out, offset, lens.iter().sum());
                offset += len;
            }
        })?;
        compare(&out, &expected)?;
        let parts: Vec<Vec<f32>> = parts.iter().map(|part| part.concat()).collect();
        let parts: Vec<&[f32]> = parts.iter().map(Vec::as_slice).collect();
        task_on_devices(&expected, 1.0, &ConcatTask { lens: lens.to_vec() }, &parts, &[])
    });
}

/// What the other parts of a concatenation wrote stays.
#[test]
fn insertions_touch_nothing_else() {
    let mut out = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    insert(&[-1.0, -2.0], 1, &mut out, 2, 4);
    assert_eq!(out, [1.0, 2.0, -1.0, 4.0, 5.0, 6.0, -2.0, 8.0]);
}

#[test]
fn refuses_wrong_lengths() {
    refuses_other_lengths([("input", 2 * 3 * 5), ("output", 2 * 2 * 5)], |[x, mut out]| {
        select(&x, 3, 5, &[Source::Channel(2), Source::Constant(1.0)], &mut out, plainly());
    });
    refuses_other_lengths([("part", 2 * 3), ("output", 2 * 5)], |[part, mut out]| insert(&part, 3, &mut out, 1, 5));
}

#[test]
#[should_panic(expected = "channel 3 of 3")]
fn refuses_channels_outside() {
    select(&[1.0; 3], 3, 1, &[Source::Channel(3)], &mut [0.0], plainly());
}

#[test]
#[should_panic(expected = "out of range")]
fn refuses_parts_that_do_not_fit() {
    insert(&[1.0; 3], 3, &mut [0.0; 5], 3, 5);
}
