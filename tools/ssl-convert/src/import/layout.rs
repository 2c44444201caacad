//! Operators that compute with shapes, or move numbers without changing them.

use super::{Binding, Importer, axis, stored};
use crate::onnx::attributes::Attributes;
use crate::onnx::proto::{NodeProto, data_type};
use crate::onnx::tensor::{Data, Tensor};
use crate::weights::Op;
use anyhow::{Context, Result, anyhow, bail, ensure};
use sslm_format::{
    Coordinates, Expand, Fill, Flatten, Gather, Interpolation, Pad, ReduceMean, Reshape, Resize2d, Slice, Target, Transpose,
    ValueId,
};

/// One extent in a computed shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ExtentOf {
    /// Known now.
    Known(i64),
    /// That of an axis of a value, whatever it turns out to be. Of all axes that are known to be equally long, the first.
    Axis(ValueId, usize),
}

impl Importer<'_> {
    /// What a node yields that computes with shapes alone: Shape, and operators on lists of integers. `None` for all others.
    pub(super) fn shape_arithmetic(&mut self, node: &NodeProto) -> Result<Option<Binding>> {
        let attributes = Attributes(node);
        if node.op_type == "Shape" {
            let extents: Vec<ExtentOf> = match self.input(node, 0)?.context("input 0: expected a tensor, found none")? {
                Binding::Tensor(t) => t.dims.iter().map(|&d| ExtentOf::Known(d as i64)).collect(),
                Binding::Value(v) | Binding::Integers(v) => self.extents_of(v).to_vec(),
                _ => bail!("input 0: expected a tensor, found a shape"),
            };
            let rank = extents.len() as i64;
            let bound = |name: &str, default: i64| -> Result<usize> {
                let bound = attributes.int(name, default)?;
                Ok((if bound < 0 { bound + rank } else { bound }).clamp(0, rank) as usize)
            };
            let (start, end) = (bound("start", 0)?, bound("end", rank)?);
            return known(extents[start..end.max(start)].to_vec()).map(Some);
        }
        let inputs = (0..node.input.len()).map(|i| self.input(node, i)).collect::<Result<Vec<_>>>()?;
        let list = match (node.op_type.as_str(), &inputs[..]) {
            (_, [Some(Binding::Extents(list)), ..]) => list.clone(),
            ("Concat", others) if others.iter().any(|i| matches!(i, Some(Binding::Extents(_)))) => {
                self.extents(node, 0)?.context("input 0: expected integers, found numbers")?
            }
            _ => return Ok(None),
        };
        let result = match node.op_type.as_str() {
            "Cast" => match attributes.int("to", 0)? as i32 {
                data_type::INT64 | data_type::INT32 => list,
                other => bail!("to: expected int64 or int32 for symbolic extents, found {}", data_type::name(other)),
            },
            // Symbolic extents are not told apart from lists of one.
            "Squeeze" | "Unsqueeze" | "Reshape" | "Identity" => list,
            "Concat" => {
                let mut all = list;
                for i in 1..node.input.len() {
                    all.extend(self.extents(node, i)?.with_context(|| format!("input {i}: expected integers, found numbers"))?);
                }
                all
            }
            "Gather" => {
                let indices = self.extents(node, 1)?.context("indices (input 1): expected integers, found none")?;
                let pick = |e: &ExtentOf| match e {
                    ExtentOf::Known(i) => {
                        usize::try_from(if *i < 0 { i + list.len() as i64 } else { *i }).ok().and_then(|i| list.get(i)).copied()
                    }
                    ExtentOf::Axis(..) => None,
                };
                let picked: Result<Vec<ExtentOf>> = indices
                    .iter()
                    .map(|i| pick(i).with_context(|| format!("indices: expected known ones below {}", list.len())))
                    .collect();
                let mut found = known(picked?)?;
                if let (Binding::Tensor(found), Some(indices)) = (&mut found, self.tensor_if_known(node, 1)?) {
                    found.dims = indices.dims;
                }
                return Ok(Some(found));
            }
            "Slice" => {
                let parts = self.slices(node, 1)?;
                let taken = |list: Vec<ExtentOf>, s: &Slice| s.picked(list.len()).map(|i| list[i]).collect();
                parts.iter().fold(list, taken)
            }
            _ => return Ok(None),
        };
        known(result).map(Some)
    }

    /// Input `i` as a list of extents, if it is integers.
    fn extents(&self, node: &NodeProto, i: usize) -> Result<Option<Vec<ExtentOf>>> {
        Ok(match self.input(node, i)? {
            Some(Binding::Extents(list)) => Some(list),
            Some(Binding::Tensor(Tensor { data: Data::Ints(ints), dims })) => {
                ensure!(dims.len() <= 1, "input {i}: expected a list of integers, found dims {dims:?}");
                Some(ints.iter().map(|&i| ExtentOf::Known(i)).collect())
            }
            _ => None,
        })
    }

    /// Integers that must be known: attribute `name`, or input `i`. `None` if neither is there.
    fn integers(&self, node: &NodeProto, name: &str, i: usize) -> Result<Option<Vec<i64>>> {
        let attributes = Attributes(node);
        if attributes.get(name).is_some() {
            return Ok(Some(attributes.ints(name)?.to_vec()));
        }
        if self.input(node, i)?.is_none() {
            return Ok(None);
        }
        let list =
            self.extents(node, i)?.with_context(|| format!("{name} (input {i}): expected constant integers, found others"))?;
        let number = |e: &ExtentOf| match e {
            ExtentOf::Known(n) => Ok(*n),
            ExtentOf::Axis(..) => bail!("{name} (input {i}): expected known integers, found a symbolic extent"),
        };
        list.iter().map(number).collect::<Result<_>>().map(Some)
    }

    pub(super) fn flatten(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Binding> {
        let at = Attributes(node).int("axis", 1)?;
        let of_rank = |rank: usize| -> Result<Op> {
            // One past the last axis is legal here.
            let axis = if at == rank as i64 { rank } else { axis(at, rank)? };
            Ok(Op::Flatten(Flatten { axis: axis as u32 }))
        };
        if let Some(Binding::Tensor(t)) = self.input(node, 0)? {
            let op = of_rank(t.dims.len())?;
            return stored::rearranged(t, &op).map(Binding::Tensor);
        }
        let x = self.value(node, 0)?;
        let op = of_rank(self.graph.shape(x).len())?;
        self.push(name, output, op, vec![x]).map(Binding::Value)
    }

    pub(super) fn reshape(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Binding> {
        let target = self.extents(node, 1)?.context("shape (input 1): expected constant integers or extents, found others")?;
        if Attributes(node).int("allowzero", 0)? != 0 {
            ensure!(!target.contains(&ExtentOf::Known(0)), "shape: expected extents of at least 1, found 0 with allowzero");
        }
        if let Some(Binding::Tensor(t)) = self.input(node, 0)? {
            let dims =
                target.iter().map(|e| if let ExtentOf::Known(n) = e { Ok(*n) } else { bail!("shape: expected known extents") });
            return stored::rearranged(t, &Op::Reshape(Reshape { dims: dims.collect::<Result<_>>()? })).map(Binding::Tensor);
        }
        let x = self.value(node, 0)?;
        self.reshape_to(name, output, x, &target)
    }

    /// A Reshape of `x`. Symbolic extents are copied from the same axis of `x`, and one more may follow from the rest.
    fn reshape_to(&mut self, name: &str, output: &str, x: ValueId, target: &[ExtentOf]) -> Result<Binding> {
        let own = self.extents_of(x);
        let dim = |(i, extent): (usize, &ExtentOf)| match *extent {
            ExtentOf::Known(n) => n,
            ExtentOf::Axis(..) if own.get(i) == Some(extent) => 0,
            ExtentOf::Axis(..) => -1,
        };
        let dims: Vec<i64> = target.iter().enumerate().map(dim).collect();
        ensure!(
            dims.iter().filter(|&&d| d == -1).count() <= 1,
            "shape: expected at most one extent that must be inferred, found {dims:?}"
        );
        let reshaped = self.push(name, output, Op::Reshape(Reshape { dims }), vec![x])?;
        for (own, target) in self.extents[reshaped.index()].iter_mut().zip(target) {
            if let (ExtentOf::Axis(..), ExtentOf::Axis(..)) = (&own, target) {
                *own = *target;
            }
        }
        Ok(Binding::Value(reshaped))
    }

    /// The extents of `x`, known or not.
    fn extents_of(&self, x: ValueId) -> &[ExtentOf] {
        &self.extents[x.index()]
    }

    pub(super) fn squeeze(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Binding> {
        let axes = self.integers(node, "axes", 1)?;
        let dropped = |extents: &[ExtentOf]| -> Result<Vec<ExtentOf>> {
            let rank = extents.len();
            let axes: Vec<usize> = match &axes {
                Some(axes) => axes.iter().map(|&a| axis(a, rank)).collect::<Result<_>>()?,
                None => (0..rank).filter(|&a| extents[a] == ExtentOf::Known(1)).collect(),
            };
            if let Some(&a) = axes.iter().find(|&&a| extents[a] != ExtentOf::Known(1)) {
                bail!("axis {a}: expected an extent of 1, found {:?}", extents[a]);
            }
            Ok((0..rank).filter(|a| !axes.contains(a)).map(|a| extents[a]).collect())
        };
        self.with_extents(node, name, output, &dropped)
    }

    pub(super) fn unsqueeze(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Binding> {
        let axes = self.integers(node, "axes", 1)?.context("axes: expected constant integers, found none")?;
        let inserted = |extents: &[ExtentOf]| -> Result<Vec<ExtentOf>> {
            let rank = extents.len() + axes.len();
            let axes: Vec<usize> = axes.iter().map(|&a| axis(a, rank)).collect::<Result<_>>()?;
            let mut own = extents.iter();
            let all: Option<Vec<ExtentOf>> =
                (0..rank).map(|a| if axes.contains(&a) { Some(ExtentOf::Known(1)) } else { own.next().copied() }).collect();
            all.context("axes: expected different ones")
        };
        self.with_extents(node, name, output, &inserted)
    }

    /// Input 0 with the extents that `change` makes of its own.
    fn with_extents(
        &mut self,
        node: &NodeProto,
        name: &str,
        output: &str,
        change: &dyn Fn(&[ExtentOf]) -> Result<Vec<ExtentOf>>,
    ) -> Result<Binding> {
        if let Some(Binding::Tensor(t)) = self.input(node, 0)? {
            let own: Vec<ExtentOf> = t.dims.iter().map(|&d| ExtentOf::Known(d as i64)).collect();
            let extent = |e: &ExtentOf| if let ExtentOf::Known(n) = e { Some(*n as usize) } else { None };
            let dims: Option<Vec<usize>> = change(&own)?.iter().map(extent).collect();
            return Tensor::new(dims.context("expected known extents")?, t.data).map(Binding::Tensor);
        }
        let x = self.value(node, 0)?;
        let target = change(self.extents_of(x))?;
        self.reshape_to(name, output, x, &target)
    }

    pub(super) fn transpose(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Binding> {
        let perm = Attributes(node).ints("perm")?;
        let of_rank = |rank: usize| -> Result<Vec<u32>> {
            if perm.is_empty() {
                return Ok((0..rank as u32).rev().collect());
            }
            perm.iter().map(|&a| u32::try_from(a).map_err(|_| anyhow!("perm: expected no negative axis, found {a}"))).collect()
        };
        if let Some(Binding::Tensor(t)) = self.input(node, 0)? {
            return stored::transposed(&t, of_rank(t.dims.len())?).map(Binding::Tensor);
        }
        let x = self.value(node, 0)?;
        let axes = of_rank(self.graph.shape(x).len())?;
        self.push(name, output, Op::Transpose(Transpose { axes }), vec![x]).map(Binding::Value)
    }

    /// The parts of a Slice, one for each axis of a tensor of `rank` axes.
    fn slices(&self, node: &NodeProto, rank: usize) -> Result<Vec<Slice>> {
        let attribute_form = Attributes(node).get("starts").is_some();
        let input = |i: usize| if attribute_form { usize::MAX } else { i };
        let starts = self.integers(node, "starts", input(1))?.context("starts: expected constant integers, found none")?;
        let ends = self.integers(node, "ends", input(2))?.context("ends: expected constant integers, found none")?;
        let axes = self.integers(node, "axes", input(3))?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self.integers(node, "steps", input(4))?.unwrap_or_else(|| vec![1; starts.len()]);
        ensure!(
            [ends.len(), axes.len(), steps.len()] == [starts.len(); 3],
            "expected as many ends, axes and steps as the {} starts, found {}, {}, {}",
            starts.len(),
            ends.len(),
            axes.len(),
            steps.len()
        );
        let part = |i: usize| -> Result<Slice> {
            ensure!(steps[i] != 0, "steps: expected no 0");
            // Bounds beyond any extent are common; they need not be told apart.
            let bound = |b: i64| b.clamp(-(1 << 41), 1 << 41);
            let step = steps[i].clamp(-(1 << 40) + 1, (1 << 40) - 1);
            Ok(Slice { axis: axis(axes[i], rank)? as u32, start: bound(starts[i]), end: bound(ends[i]), step })
        };
        (0..starts.len()).map(part).collect()
    }

    pub(super) fn slice(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Binding> {
        if let Some(Binding::Tensor(t)) = self.input(node, 0)? {
            let parts = self.slices(node, t.dims.len())?;
            return parts.into_iter().try_fold(t, |t, part| stored::sliced(&t, part)).map(Binding::Tensor);
        }
        let mut x = self.value(node, 0)?;
        let parts = self.slices(node, self.graph.shape(x).len())?;
        let count = parts.len();
        for (i, part) in parts.into_iter().enumerate() {
            let output = if i + 1 == count { output.to_owned() } else { format!("{output}.{i}") };
            x = self.push(name, &output, Op::Slice(part), vec![x])?;
        }
        Ok(Binding::Value(x))
    }

    pub(super) fn split(&mut self, node: &NodeProto, name: &str) -> Result<Vec<Binding>> {
        let x = self.value(node, 0)?;
        let axis = axis(Attributes(node).int("axis", 0)?, self.graph.shape(x).len())?;
        let count = node.output.len() as i64;
        let lens = match self.integers(node, "split", 1)? {
            Some(lens) => lens,
            None => {
                let extent =
                    self.graph.shape(x)[axis].context("split: expected lengths, since the axis is symbolic, found none")? as i64;
                let len = (extent + count - 1) / count;
                (0..count).map(|i| len.min(extent - i * len)).collect()
            }
        };
        ensure!(
            lens.len() as i64 == count && lens.iter().all(|&l| l >= 0),
            "split: expected a length for each of {count} outputs, found {lens:?}"
        );
        let (mut start, mut parts) = (0i64, Vec::new());
        for (output, len) in node.output.iter().zip(lens) {
            let end = start.checked_add(len).context("split: too long")?;
            let slice = Slice { axis: axis as u32, start, end, step: 1 };
            parts.push(Binding::Value(self.push(name, output, Op::Slice(slice), vec![x])?));
            start = end;
        }
        Ok(parts)
    }

    pub(super) fn gather(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Binding> {
        let tensor = self.tensor(node, 1, "indices")?.context("indices (input 1): expected constant integers, found none")?;
        let on_rank = |rank: usize| -> Result<Gather> {
            let axis = axis(Attributes(node).int("axis", 0)?, rank)?;
            Ok(Gather { axis: axis as u32, indices: tensor.ints()?.to_vec() })
        };
        if let Some(Binding::Tensor(t)) = self.input(node, 0)? {
            return stored::gathered(&t, on_rank(t.dims.len())?, &tensor.dims).map(Binding::Tensor);
        }
        let x = self.value(node, 0)?;
        let gather = on_rank(self.graph.shape(x).len())?;
        let (axis, gather) = (gather.axis as usize, Op::Gather(gather));
        if tensor.dims.len() == 1 {
            return self.push(name, output, gather, vec![x]).map(Binding::Value);
        }
        // The axis becomes those of the indices: none, or several.
        let mut target = self.extents_of(x).to_vec();
        target.splice(axis..=axis, tensor.dims.iter().map(|&d| ExtentOf::Known(d as i64)));
        let gathered = self.push(name, &format!("{output}.gathered"), gather, vec![x])?;
        self.reshape_to(name, output, gathered, &target)
    }

    pub(super) fn pad(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Binding> {
        let attributes = Attributes(node);
        let x = self.value(node, 0)?;
        let rank = self.graph.shape(x).len();
        let pads = self.integers(node, "pads", 1)?.context("pads: expected constant integers, found none")?;
        let axes: Vec<usize> = match self.integers(node, "axes", 3)? {
            Some(axes) => axes.iter().map(|&a| axis(a, rank)).collect::<Result<_>>()?,
            None => (0..rank).collect(),
        };
        ensure!(pads.len() == 2 * axes.len(), "pads: expected {} numbers, found {}", 2 * axes.len(), pads.len());
        let mut amounts = vec![[0; 2]; rank];
        for (i, &pad) in pads.iter().enumerate() {
            let amount = u32::try_from(pad).map_err(|_| anyhow!("pads: expected no negative amount, found {pad}"))?;
            amounts[axes[i % axes.len()]][i / axes.len()] = amount;
        }
        let fill = match attributes.text("mode", "constant")? {
            "constant" => {
                let value = match self.tensor(node, 2, "constant_value")? {
                    Some(t) if t.floats()?.len() == 1 => t.floats()?.at(0),
                    Some(t) => bail!("constant_value: expected one number, found dims {:?}", t.dims),
                    None => attributes.float("value", 0.0)?,
                };
                Fill::Constant { value }
            }
            "reflect" => Fill::Reflect,
            "edge" => Fill::Edge,
            other => bail!("mode: expected constant, reflect or edge, found {other}"),
        };
        self.push(name, output, Op::Pad(Pad { amounts, fill }), vec![x]).map(Binding::Value)
    }

    pub(super) fn resize(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Binding> {
        let attributes = Attributes(node);
        let x = self.value(node, 0)?;
        let rank = self.graph.shape(x).len();
        ensure!(rank == 4, "input: expected 4 axes, found {rank}");
        let axes: Vec<usize> = match attributes.ints("axes")? {
            [] => (0..rank).collect(),
            axes => axes.iter().map(|&a| axis(a, rank)).collect::<Result<_>>()?,
        };
        // Opset 10 had no region of interest.
        let scales = self.tensor(node, if self.opset < 11 { 1 } else { 2 }, "scales")?.filter(|t| t.dims != [0]);
        let sizes = if self.opset < 11 { None } else { self.extents(node, 3)? };
        let position = |axis: usize| axes.iter().position(|&a| a == axis);
        let target = if let Some(scales) = scales {
            let floats = scales.floats()?;
            ensure!(floats.len() == axes.len(), "scales: expected {} numbers, found {}", axes.len(), floats.len());
            let factor = |axis: usize| position(axis).map_or(1.0, |i| floats.at(i));
            ensure!(
                factor(0) == 1.0 && factor(1) == 1.0,
                "scales: expected 1 for batch and channels, found {} and {}",
                factor(0),
                factor(1)
            );
            Target::Scales { factors: [factor(2), factor(3)] }
        } else if let Some(sizes) = sizes {
            ensure!(sizes.len() == axes.len(), "sizes: expected {} numbers, found {}", axes.len(), sizes.len());
            let own = self.extents_of(x);
            let size = |axis: usize| position(axis).map_or(own[axis], |i| sizes[i]);
            for (axis, own) in own.iter().enumerate().take(2) {
                let size = size(axis);
                ensure!(size == *own, "sizes: expected those of the input for batch and channels, found {size:?}");
            }
            let extent = |axis: usize| match size(axis) {
                ExtentOf::Known(n) => u32::try_from(n)
                    .ok()
                    .filter(|&n| n > 0)
                    .with_context(|| format!("sizes: expected a positive number, found {n}")),
                ExtentOf::Axis(..) => bail!("sizes: expected known ones, found a symbolic extent"),
            };
            Target::Sizes { extents: [extent(2)?, extent(3)?] }
        } else {
            bail!("expected scales or sizes, found neither")
        };
        let policy = attributes.text("keep_aspect_ratio_policy", "stretch")?;
        ensure!(policy == "stretch", "keep_aspect_ratio_policy: expected stretch, found {policy}");
        ensure!(attributes.int("antialias", 0)? == 0, "antialias: expected 0, found 1");
        let coordinates = match attributes
            .text("coordinate_transformation_mode", if self.opset < 11 { "asymmetric" } else { "half_pixel" })?
        {
            "half_pixel" => Coordinates::HalfPixel,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "asymmetric" => Coordinates::Asymmetric,
            "align_corners" => Coordinates::AlignCorners,
            other => bail!(
                "coordinate_transformation_mode: expected half_pixel, pytorch_half_pixel, asymmetric or align_corners, found {other}"
            ),
        };
        // Before opset 11, growing took the position before and shrinking the one behind.
        let shrinks = matches!(&target, Target::Scales { factors } if factors.iter().all(|&f| f <= 1.0));
        let nearest = match (self.opset < 11, shrinks) {
            (true, true) => "ceil",
            (true, false) => "floor",
            _ => attributes.text("nearest_mode", "round_prefer_floor")?,
        };
        let interpolation = match (attributes.text("mode", "nearest")?, nearest) {
            ("linear", _) => Interpolation::Linear,
            ("nearest", "round_prefer_floor") => Interpolation::NearestPreferFloor,
            ("nearest", "round_prefer_ceil") => Interpolation::NearestPreferCeil,
            ("nearest", "floor") => Interpolation::Floor,
            ("nearest", "ceil") => Interpolation::Ceil,
            (mode, nearest) => bail!("mode: expected nearest or linear, found {mode} ({nearest})"),
        };
        self.push(name, output, Op::Resize2d(Resize2d { coordinates, interpolation, target }), vec![x]).map(Binding::Value)
    }

    pub(super) fn reduce_mean(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Binding> {
        let attributes = Attributes(node);
        let x = self.value(node, 0)?;
        let rank = self.graph.shape(x).len();
        let mut axes: Vec<u32> = match self.integers(node, "axes", 1)? {
            Some(axes) if !axes.is_empty() => axes.iter().map(|&a| axis(a, rank).map(|a| a as u32)).collect::<Result<_>>()?,
            _ if attributes.int("noop_with_empty_axes", 0)? != 0 => return Ok(Binding::Value(x)),
            _ => (0..rank as u32).collect(),
        };
        axes.sort_unstable();
        axes.dedup();
        let keep = attributes.int("keepdims", 1)? != 0;
        self.push(name, output, Op::ReduceMean(ReduceMean { axes, keep }), vec![x]).map(Binding::Value)
    }

    pub(super) fn expand(&mut self, node: &NodeProto, name: &str, output: &str) -> Result<Binding> {
        let x = self.value(node, 0)?;
        let target = self.extents(node, 1)?.context("shape (input 1): expected constant integers or extents, found others")?;
        let own = self.extents_of(x);
        let extent = |(i, e): (usize, &ExtentOf)| match *e {
            ExtentOf::Known(n) => u64::try_from(n).map_err(|_| anyhow!("shape: expected no negative extent, found {n}")),
            ExtentOf::Axis(..) => match (i + own.len()).checked_sub(target.len()).and_then(|i| own.get(i)) {
                Some(own) if own == e => Ok(1),
                _ => bail!("shape: expected known extents or those of the input, found another symbolic one"),
            },
        };
        let dims = target.iter().enumerate().map(extent).collect::<Result<_>>()?;
        self.push(name, output, Op::Expand(Expand { dims }), vec![x]).map(Binding::Value)
    }
}

/// Where an unknown extent of what `op` yields, that of `axis` of `rank`, is sure to be one of its inputs' extents: that one.
pub(super) fn origin(op: &Op, inputs: &[&[ExtentOf]], rank: usize, axis: usize) -> Option<ExtentOf> {
    let x = *inputs.first()?;
    let stays = |changed: bool| if changed { None } else { x.get(axis).copied() };
    let remaining = |reduced: &[u32]| (0..x.len()).filter(|a| !reduced.contains(&(*a as u32))).nth(axis).map(|a| x[a]);
    match op {
        Op::Gemm(_) | Op::Activation(_) | Op::Lrn(_) | Op::BatchNorm(_) | Op::InstanceNorm(_) | Op::Softmax(_) => stays(false),
        Op::Binary(_) | Op::Expand(_) => {
            let aligned = |x: &&[ExtentOf]| (axis + x.len()).checked_sub(rank).map(|a| x[a]);
            let mut own = inputs.iter().filter_map(aligned).filter(|e| *e != ExtentOf::Known(1));
            let first = own.next()?;
            own.all(|e| e == first).then_some(first)
        }
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Resize2d(_) => stays(axis >= 2),
        Op::MaxPool(_) | Op::AveragePool(_) | Op::GlobalAveragePool(_) | Op::GlobalMaxPool(_) => stays(axis >= 2),
        Op::Flatten(flatten) => {
            let (before, behind) = x.split_at(flatten.axis as usize);
            quotient(if axis == 0 { before } else { behind }, &[])
        }
        Op::Reshape(reshape) if reshape.dims[axis] == -1 => {
            let others = reshape.dims.iter().zip(0..).filter(|&(_, i)| i != axis);
            let others: Vec<ExtentOf> = others.map(|(&d, i)| if d == 0 { x[i] } else { ExtentOf::Known(d) }).collect();
            quotient(x, &others)
        }
        Op::Reshape(_) => stays(false),
        Op::Concat(concat) => stays(axis == concat.axis as usize),
        Op::Transpose(transpose) => Some(x[transpose.axes[axis] as usize]),
        Op::Slice(slice) => stays(axis == slice.axis as usize),
        Op::Gather(gather) => stays(axis == gather.axis as usize),
        Op::Pad(pad) => stays(pad.amounts[axis] != [0, 0]),
        Op::ReduceMean(reduce) if !reduce.keep => remaining(&reduce.axes),
        Op::ArgMax(arg) if !arg.keep => remaining(&[arg.axis]),
        Op::ReduceMean(_) | Op::ArgMax(_) => stays(false),
        Op::Constant(_) => None,
    }
}

/// The one symbolic extent that `product` has more than `divisors`, if that is all in which their products differ.
fn quotient(product: &[ExtentOf], divisors: &[ExtentOf]) -> Option<ExtentOf> {
    let known = |list: &[ExtentOf]| list.iter().map(|e| if let ExtentOf::Known(n) = e { *n } else { 1 }).product::<i64>();
    let symbolic = |list: &[ExtentOf]| list.iter().copied().filter(|e| matches!(e, ExtentOf::Axis(..))).collect::<Vec<_>>();
    let mut left = symbolic(product);
    for divisor in symbolic(divisors) {
        left.swap_remove(left.iter().position(|e| *e == divisor)?);
    }
    match left[..] {
        [one] if known(product) == known(divisors) => Some(one),
        _ => None,
    }
}

/// A list whose extents are all known is a tensor.
fn known(list: Vec<ExtentOf>) -> Result<Binding> {
    let numbers: Option<Vec<i64>> = list.iter().map(|e| if let ExtentOf::Known(n) = e { Some(*n) } else { None }).collect();
    Ok(match numbers {
        Some(numbers) => Binding::Tensor(Tensor::new(vec![numbers.len()], Data::Ints(numbers.into()))?),
        None => Binding::Extents(list),
    })
}
