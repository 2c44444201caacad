//! Logical shapes of every value of a graph, from the shapes of its inputs. Extents may be unknown ([`Extent`] `None`) where an
//! input dimension is symbolic; with concrete inputs everything is known. These rules are part of the format: they fix how many
//! channels each value has and which graphs are legal.

use crate::error::{Error, Result};
use crate::model::*;

/// One dimension: `None` while it depends on a symbolic one.
pub type Extent = Option<usize>;
/// Extents of all axes.
pub type Shape = Vec<Extent>;

/// No axis is longer than this, and no tensor has more elements: every index fits in an `i64` with room to spare.
pub const MAX_ELEMENTS: usize = 1 << 40;
/// Channels, filters, features and groups are below this.
pub const MAX_CHANNELS: u32 = 1 << 28;
/// Most axes a value has.
pub const MAX_RANK: usize = 8;

/// The input's own dims, with symbolic ones unknown.
pub fn of_input(input: &Input) -> Shape {
    let extent = |d: &Dim| match d {
        Dim::Fixed { size } => Some(usize::try_from(*size).unwrap_or(usize::MAX)),
        Dim::Symbolic { .. } => None,
    };
    input.dims.iter().map(extent).collect()
}

/// Shapes of all values, by [`ValueId`]. `inputs` are the shapes of `graph.inputs`, in order.
///
/// # Errors
/// [`crate::ErrorKind::Shape`], naming the node, if shapes do not fit the operator that reads them. The graph itself must have
/// passed [`crate::validate`], or come from code that keeps the same rules.
pub fn infer(graph: &Graph, inputs: &[Shape]) -> Result<Vec<Shape>> {
    let mut shapes = vec![Shape::new(); graph.values.len()];
    for (input, shape) in graph.inputs.iter().zip(inputs) {
        check_size(shape).map_err(|e| e.within(format!("input '{}'", graph.values[input.value.index()].name)))?;
        shapes[input.value.index()].clone_from(shape);
    }
    for node in &graph.nodes {
        let operands: Vec<&Shape> = node.inputs.iter().map(|v| &shapes[v.index()]).collect();
        let shape = of_node(&node.op, &operands)
            .and_then(|s| check_size(&s).map(|()| s))
            .map_err(|e| e.within(format!("node '{}' ({})", node.name, node.op.name())))?;
        shapes[node.output.index()] = shape;
    }
    Ok(shapes)
}

/// Shape of what `op` yields for inputs of the given shapes.
///
/// # Errors
/// [`crate::ErrorKind::Shape`] if `op` cannot be applied to them.
pub fn of_node(op: &Op, inputs: &[&Shape]) -> Result<Shape> {
    let x = || inputs.first().copied().ok_or_else(|| Error::shape("inputs", "at least one", "none"));
    match op {
        Op::Conv(conv) => {
            let mut out = windowed(x()?, &conv.window, false)?;
            expect_extent("input channels", x()?[1], conv.channels as usize)?;
            out[1] = Some(conv.filters as usize);
            Ok(out)
        }
        Op::Gemm(gemm) => {
            let mut out = x()?.clone();
            let Some(last) = out.last_mut() else { return Err(Error::shape("input rank", "at least 1", 0)) };
            expect_extent("input features", *last, gemm.features as usize)?;
            *last = Some(gemm.rows as usize);
            Ok(out)
        }
        Op::ConvTranspose(transpose) => transposed(x()?, transpose),
        Op::Activation(_) => Ok(x()?.clone()),
        Op::Lrn(_) | Op::BatchNorm(_) | Op::InstanceNorm(_) => {
            if x()?.len() < 2 {
                return Err(Error::shape("input rank", "at least 2", x()?.len()));
            }
            Ok(x()?.clone())
        }
        Op::MaxPool(pool) => windowed(x()?, &pool.window, pool.ceil_mode),
        Op::AveragePool(pool) => windowed(x()?, &pool.window, pool.ceil_mode),
        Op::GlobalAveragePool | Op::GlobalMaxPool => {
            expect_rank(x()?, 4)?;
            Ok(vec![x()?[0], x()?[1], Some(1), Some(1)])
        }
        Op::Softmax(s) => {
            if s.start >= s.end || s.end as usize > x()?.len() {
                return Err(Error::shape("axes", format!("a range within 0..{}", x()?.len()), format!("{}..{}", s.start, s.end)));
            }
            Ok(x()?.clone())
        }
        Op::Flatten(f) => {
            let x = x()?;
            let axis = f.axis as usize;
            if axis > x.len() {
                return Err(Error::shape("axis", format!("at most {}", x.len()), axis));
            }
            Ok(vec![product(&x[..axis])?, product(&x[axis..])?])
        }
        Op::Reshape(r) => reshaped(x()?, &r.dims),
        Op::Concat(c) => concatenated(inputs, c.axis as usize),
        Op::Binary(_) => match inputs {
            [a, b] => broadcast(a, b),
            _ => Err(Error::shape("inputs", 2, inputs.len())),
        },
        Op::Transpose(t) => {
            let x = x()?;
            let mut axes = t.axes.clone();
            axes.sort_unstable();
            if axes.len() != x.len() || axes.iter().enumerate().any(|(i, &a)| a as usize != i) {
                return Err(Error::shape("axes", format!("each of 0..{} once", x.len()), format!("{} others", t.axes.len())));
            }
            Ok(t.axes.iter().map(|&a| x[a as usize]).collect())
        }
        Op::Slice(s) => on_axis(x()?, s.axis, &mut |extent| Ok(extent.map(|e| s.positions(e).len()))),
        Op::Gather(g) => on_axis(x()?, g.axis, &mut |extent| match extent.map(|e| (e, g.positions(e))) {
            Some((extent, None)) => {
                let outside = |i: &&i64| **i >= extent as i64 || **i < -(extent as i64);
                Err(Error::shape("indices", format!("below {extent}"), g.indices.iter().find(outside).copied().unwrap_or(0)))
            }
            _ => Ok(Some(g.indices.len())),
        }),
        Op::Pad(pad) => {
            expect_rank(x()?, pad.amounts.len())?;
            x()?.iter().zip(&pad.amounts).map(|(extent, amounts)| padded_extent(*extent, *amounts, &pad.fill)).collect()
        }
        Op::Resize(resize) => {
            expect_rank(x()?, 4)?;
            let extent = |axis: usize| match &resize.target {
                Target::Sizes { extents } => Some(extents[axis] as usize),
                // As the operator's definition has it, in the precision of the factors.
                Target::Scales { factors } => x().ok()?[2 + axis].map(|e| (e as f32 * factors[axis]).floor() as usize),
            };
            Ok(vec![x()?[0], x()?[1], extent(0), extent(1)])
        }
        Op::ReduceMean(reduce) => {
            let x = x()?;
            if let Some(axis) = reduce.axes.iter().find(|&&a| a as usize >= x.len()) {
                return Err(Error::shape("axes", format!("below the rank {}", x.len()), axis));
            }
            let reduced = |axis: usize| reduce.axes.contains(&(axis as u32));
            let axes = x.iter().enumerate().filter(|&(axis, _)| reduce.keep || !reduced(axis));
            Ok(axes.map(|(axis, &extent)| if reduced(axis) { Some(1) } else { extent }).collect())
        }
        Op::Expand(expand) => {
            let dims: Result<Shape> =
                expand.dims.iter().map(|&d| Ok(Some(usize::try_from(d).map_err(|_| too_large())?))).collect();
            broadcast(x()?, &dims?)
        }
        Op::ArgMax(arg) => {
            let mut out = on_axis(x()?, arg.axis, &mut |_| Ok(Some(1)))?;
            if !arg.keep {
                out.remove(arg.axis as usize);
            }
            Ok(out)
        }
        Op::Constant(c) => c
            .dims
            .iter()
            .map(|&d| usize::try_from(d).map(Some).map_err(|_| Error::shape("dims", "extents that fit in memory", d)))
            .collect(),
    }
}

/// The four amounts of padding (top, left, bottom, right) that `window` puts around an input of `height` x `width`.
pub fn resolve_padding(window: &Window, height: usize, width: usize) -> [usize; 4] {
    let same = |axis: usize, size: usize, odd_first: bool| {
        let (stride, reach) = (window.strides[axis] as usize, reach(window, axis));
        let out = size.div_ceil(stride);
        let total = (out.saturating_sub(1) * stride + reach).saturating_sub(size);
        let (small, large) = (total / 2, total - total / 2);
        if odd_first { [large, small] } else { [small, large] }
    };
    match window.padding {
        Padding::Explicit { top, left, bottom, right } => [top as usize, left as usize, bottom as usize, right as usize],
        Padding::SameUpper | Padding::SameLower => {
            let lower = window.padding == Padding::SameLower;
            let ([top, bottom], [left, right]) = (same(0, height, lower), same(1, width, lower));
            [top, left, bottom, right]
        }
    }
}

/// Input positions that one window spans on `axis` (0 vertical, 1 horizontal).
pub fn reach(window: &Window, axis: usize) -> usize {
    (window.kernel[axis] as usize - 1) * window.dilations[axis] as usize + 1
}

/// `[N, C, H, W]` after sliding `window` over it; the channel extent is the input's.
fn windowed(x: &Shape, window: &Window, ceil_mode: bool) -> Result<Shape> {
    expect_rank(x, 4)?;
    let mut out = x.clone();
    // Padding of one axis does not depend on the other one, so an unknown extent may be given as 0.
    let [top, left, bottom, right] = resolve_padding(window, x[2].unwrap_or(0), x[3].unwrap_or(0));
    for (axis, before, after) in [(0, top, bottom), (1, left, right)] {
        let Some(size) = x[2 + axis] else { continue };
        let (stride, reach) = (window.strides[axis] as usize, reach(window, axis));
        let padded = size + before + after;
        if padded < reach || size == 0 {
            let name = ["height", "width"][axis];
            return Err(Error::shape(
                format!("{name} with padding"),
                format!("at least the {reach} positions that the window spans"),
                format!("{padded} ({size} + {before} + {after})"),
            ));
        }
        let mut count = (padded - reach) / stride + 1;
        // A window may hang over the end only if it starts inside the input or the padding before it.
        if ceil_mode && !(padded - reach).is_multiple_of(stride) && count * stride < size + before {
            count += 1;
        }
        out[2 + axis] = Some(count);
    }
    Ok(out)
}

/// The shape of `x` with another extent on one axis.
fn on_axis(x: &Shape, axis: u32, extent: &mut dyn FnMut(Extent) -> Result<Extent>) -> Result<Shape> {
    let mut out = x.clone();
    match out.get_mut(axis as usize) {
        Some(e) => *e = extent(*e)?,
        None => return Err(Error::shape("axis", format!("below the rank {}", x.len()), axis)),
    }
    Ok(out)
}

fn padded_extent(extent: Extent, [before, after]: [u32; 2], fill: &Fill) -> Result<Extent> {
    let (before, after) = (before as usize, after as usize);
    let most = match (fill, extent) {
        (Fill::Reflect, Some(extent)) => extent.saturating_sub(1),
        (Fill::Edge, Some(0)) => 0,
        _ => usize::MAX,
    };
    if before.max(after) > most {
        return Err(Error::shape("amounts", format!("at most {most} (of what there is to copy)"), before.max(after)));
    }
    Ok(extent.map(|e| e + before + after))
}

/// `[N, filters, H, W]` after a transposed convolution.
fn transposed(x: &Shape, transpose: &ConvTranspose) -> Result<Shape> {
    let conv = &transpose.conv;
    expect_rank(x, 4)?;
    expect_extent("input channels", x[1], conv.channels as usize)?;
    let mut out = vec![x[0], Some(conv.filters as usize), None, None];
    let [top, left, bottom, right] = resolve_padding(&conv.window, 0, 0);
    for (axis, before, after) in [(0, top, bottom), (1, left, right)] {
        let Some(size) = x[2 + axis] else { continue };
        let (stride, extra) = (conv.window.strides[axis] as usize, transpose.output_padding[axis] as usize);
        let spread = size.saturating_sub(1).checked_mul(stride).ok_or_else(too_large)? + reach(&conv.window, axis) + extra;
        match spread.checked_sub(before + after) {
            Some(extent) if size > 0 => out[2 + axis] = Some(extent),
            _ => return Err(Error::shape("padding", format!("at most the {spread} positions there are"), before + after)),
        }
    }
    Ok(out)
}

fn reshaped(x: &Shape, dims: &[i64]) -> Result<Shape> {
    let mut out = Shape::new();
    let mut inferred = None;
    for (axis, &dim) in dims.iter().enumerate() {
        out.push(match dim {
            0 => *x.get(axis).ok_or_else(|| Error::shape("dims", format!("0 only on the input's {} axes", x.len()), axis))?,
            -1 if inferred.is_none() => {
                inferred = Some(axis);
                Some(1)
            }
            d => Some(usize::try_from(d).map_err(|_| Error::shape("dims", "positive extents, 0, or one -1", d))?),
        });
    }
    let (have, want) = (product(x)?, product(&out)?);
    match (inferred, have, want) {
        (Some(axis), Some(have), Some(want)) => {
            if want == 0 || have % want != 0 {
                return Err(Error::shape("elements", format!("a multiple of {want}"), have));
            }
            out[axis] = Some(have / want);
        }
        (Some(axis), ..) => {
            // An unknown axis copied by 0 cancels: what is left may still be known.
            let cancels = |axis: usize| dims.get(axis) == Some(&0) && x[axis].is_none();
            let rest =
                |s: &Shape| product(&s.iter().enumerate().filter(|&(i, _)| !cancels(i)).map(|(_, &e)| e).collect::<Vec<_>>());
            out[axis] = match (rest(x)?, rest(&out)?) {
                (Some(have), Some(want)) if want > 0 && have.is_multiple_of(want) => Some(have / want),
                _ => None,
            };
        }
        (None, Some(have), Some(want)) if have != want => return Err(Error::shape("elements", want, have)),
        _ => {}
    }
    Ok(out)
}

fn concatenated(inputs: &[&Shape], axis: usize) -> Result<Shape> {
    let Some((first, rest)) = inputs.split_first() else { return Err(Error::shape("inputs", "at least one", 0)) };
    if axis >= first.len() {
        return Err(Error::shape("axis", format!("below the rank {}", first.len()), axis));
    }
    let mut out = (*first).clone();
    for x in rest {
        expect_rank(x, out.len())?;
        for (i, (have, &more)) in out.iter_mut().zip(x.iter()).enumerate() {
            if i == axis {
                *have = match have.zip(more) {
                    Some((a, b)) => Some(a.checked_add(b).ok_or_else(too_large)?),
                    None => None,
                };
            } else {
                match (*have, more) {
                    (Some(a), Some(b)) if a != b => return Err(Error::shape(format!("axis {i}"), a, b)),
                    (None, known) => *have = known,
                    _ => {}
                }
            }
        }
    }
    Ok(out)
}

/// Shape of an elementwise operation on `a` and `b` by numpy's rules.
fn broadcast(a: &Shape, b: &Shape) -> Result<Shape> {
    let rank = a.len().max(b.len());
    let padded = |s: &Shape, i: usize| if i + s.len() < rank { Some(1) } else { s[i + s.len() - rank] };
    (0..rank)
        .map(|i| match (padded(a, i), padded(b, i)) {
            (Some(1), other) | (other, Some(1)) => Ok(other),
            (Some(p), Some(q)) if p != q => Err(Error::shape(format!("axis {i}"), format!("{p} or 1"), q)),
            (None, known) | (known, _) => Ok(known),
        })
        .collect()
}

fn expect_rank(x: &Shape, rank: usize) -> Result<()> {
    if x.len() == rank { Ok(()) } else { Err(Error::shape("input rank", rank, x.len())) }
}

fn expect_extent(what: &str, found: Extent, expected: usize) -> Result<()> {
    match found {
        Some(n) if n != expected => Err(Error::shape(what, expected, n)),
        _ => Ok(()),
    }
}

fn product(extents: &[Extent]) -> Result<Extent> {
    let mut total = Some(1usize);
    for e in extents {
        total = match total.zip(*e) {
            Some((t, e)) => Some(t.checked_mul(e).ok_or_else(too_large)?),
            None => None,
        };
    }
    Ok(total)
}

fn too_large() -> Error {
    Error::shape("tensor", format!("at most {MAX_ELEMENTS} elements"), "more")
}

/// Checks that a value may have this shape. Counts unknown extents as 1.
///
/// # Errors
/// [`crate::ErrorKind::Shape`] if it has more than [`MAX_RANK`] axes or [`MAX_ELEMENTS`] elements.
pub fn check_size(shape: &Shape) -> Result<()> {
    if shape.len() > MAX_RANK {
        return Err(Error::shape("rank", format!("at most {MAX_RANK}"), shape.len()));
    }
    let elements = shape.iter().try_fold(1usize, |n, e| n.checked_mul(e.unwrap_or(1).max(1)));
    if elements.is_some_and(|n| n <= MAX_ELEMENTS) { Ok(()) } else { Err(too_large()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(kernel: u32, stride: u32, dilation: u32, padding: Padding) -> Window {
        Window { kernel: [kernel; 2], strides: [stride; 2], dilations: [dilation; 2], padding }
    }

    fn pads(all: u32) -> Padding {
        Padding::Explicit { top: all, left: all, bottom: all, right: all }
    }

    #[test]
    fn windows_follow_onnx() {
        struct Case(usize, Window, bool, usize);
        let cases = [
            Case(28, window(5, 1, 1, pads(0)), false, 24),
            Case(227, window(11, 4, 1, pads(0)), false, 55),
            Case(55, window(3, 2, 1, pads(0)), false, 27),
            Case(7, window(3, 1, 2, pads(2)), false, 7),
            Case(6, window(3, 2, 1, pads(0)), false, 2),
            Case(6, window(3, 2, 1, pads(0)), true, 3),
            // The extra window would start in the padding behind the input: it does not count.
            Case(2, window(1, 2, 1, pads(1)), true, 2),
            Case(7, window(3, 2, 1, Padding::SameUpper), false, 4),
            Case(6, window(2, 3, 1, Padding::SameLower), false, 2),
        ];
        for Case(size, w, ceil, expected) in cases {
            let out = windowed(&vec![Some(1), Some(3), Some(size), None], &w, ceil).unwrap();
            assert_eq!(out, vec![Some(1), Some(3), Some(expected), None], "{size} {w:?} ceil {ceil}");
        }
    }

    #[test]
    fn same_padding_puts_the_odd_one_on_its_side() {
        assert_eq!(resolve_padding(&window(2, 1, 1, Padding::SameUpper), 5, 5), [0, 0, 1, 1]);
        assert_eq!(resolve_padding(&window(2, 1, 1, Padding::SameLower), 5, 5), [1, 1, 0, 0]);
        assert_eq!(resolve_padding(&window(1, 3, 1, Padding::SameLower), 5, 5), [0, 0, 0, 0]);
    }

    #[test]
    fn unknown_batch_survives_reshape() {
        let x = vec![None, Some(50), Some(4), Some(4)];
        assert_eq!(reshaped(&x, &[0, -1]).unwrap(), vec![None, Some(800)]);
        assert_eq!(reshaped(&x, &[-1, 800]).unwrap(), vec![None, Some(800)]);
        assert_eq!(reshaped(&x, &[1, 800]).unwrap(), vec![Some(1), Some(800)]);
        let known = vec![Some(2), Some(3)];
        assert_eq!(reshaped(&known, &[-1]).unwrap(), vec![Some(6)]);
        assert!(reshaped(&known, &[4, -1]).is_err());
        assert!(reshaped(&known, &[7]).is_err());
        assert!(reshaped(&known, &[2, 3, 0]).is_err());
    }

    #[test]
    fn broadcasting_is_numpys() {
        assert_eq!(broadcast(&vec![None, Some(4)], &vec![Some(4)]).unwrap(), vec![None, Some(4)]);
        assert_eq!(broadcast(&vec![Some(3), Some(1)], &vec![Some(1), Some(5)]).unwrap(), vec![Some(3), Some(5)]);
        assert!(broadcast(&vec![Some(3)], &vec![Some(2)]).is_err());
    }

    #[test]
    fn sizes_are_capped() {
        assert!(check_size(&vec![Some(1 << 30), Some(1 << 30)]).is_err());
        assert!(check_size(&vec![Some(usize::MAX), Some(usize::MAX)]).is_err());
        assert!(check_size(&vec![Some(1); 9]).is_err());
        assert!(check_size(&vec![None, Some(1 << 20)]).is_ok());
    }
}
