//! The ways in which a convolution group can be computed. A new one is a file here, a line of [`Method::plug_in`] and of the list of
//! [`Method`]s, and a line in the table of cases of the kernels' tests.

mod channel_lanes;
mod depthwise;
mod each_group;
mod filter_lanes;
mod in_place;
mod packed;
mod winograd;

use super::method::{ConvMethod, PlacedGroup, Problem};
use crate::target::Method;

impl Method {
    pub(super) fn plug_in(self) -> &'static dyn ConvMethod {
        match self {
            Method::Packed => &packed::Packed,
            Method::InPlace => &in_place::InPlace,
            Method::Winograd => &winograd::Winograd,
            Method::FilterLanes => &filter_lanes::FilterLanes,
            Method::Depthwise => &depthwise::Depthwise,
            Method::ChannelLanes => &channel_lanes::ChannelLanes,
        }
    }

    /// What is to compute a group: the wanted method, or where that does not apply [`Method::Packed`]; where none is wanted, the
    /// method that is expected to be fastest. `None` if no such method can do so in the problem's layouts.
    pub(super) fn choose(problem: &Problem<'_>, group: PlacedGroup<'_>, wanted: Option<Method>) -> Option<Method> {
        let applies = |method: &Method| {
            let method = method.plug_in();
            method.supports(problem.layouts) && method.applies(problem, group)
        };
        if let Some(wanted) = wanted {
            return [wanted, Method::Packed].into_iter().find(applies);
        }
        let all: Vec<Method> = Self::ALL.into_iter().filter(applies).collect();
        if let Some(fastest) = all.iter().rev().find(|method| method.plug_in().is_fastest(problem, group)) {
            return Some(*fastest);
        }
        let competing = all.into_iter().map(|method| (method, method.plug_in())).filter(|(_, plug_in)| plug_in.competes(problem));
        let costs = competing.filter_map(|(method, plug_in)| Some((plug_in.cost(problem, group)?, method)));
        let cheapest = costs.reduce(|best, other| if other.0 < best.0 { other } else { best });
        cheapest.map(|(_, method)| method)
    }
}
