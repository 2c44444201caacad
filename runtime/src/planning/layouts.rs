//! Which layout each activation has: what is cheapest for the steps that write and read it, conversions included.
//!
//! A step that lies between two convolutions is best computed in the layout that suits these, and a network has few places where
//! converting pays. So the choice begins with what is best for each step alone, with planes throughout, and with blocks wherever they
//! are possible; all are improved step by step until no other choice for one step is cheaper, and the cheapest result is taken.

use sslm_kernels::Task;
use sslm_kernels::layout::{Extents, Forms, Layout, Layouts};

/// Sweeps over all steps after which the choice is taken as it is; two or three are enough for usual networks.
const MOST_SWEEPS: usize = 16;

/// Planes stay if all steps together are expected to take at least this part of their time with other layouts: costs are estimates.
const WORTHWHILE: f64 = 0.97;

/// What a backend says of layouts.
pub(crate) trait LayoutRules {
    /// The layouts in which a step can be computed, which is of the node of this index.
    fn forms(&self, task: &dyn Task, node: Option<usize>) -> Forms;

    /// Elements of an activation in a layout.
    fn len(&self, extents: Extents, layout: Layout) -> usize;

    /// What converting an activation costs, in the units of [`Forms`].
    fn conversion_cost(&self, extents: Extents) -> f64;
}

/// A step with the activations that it reads and writes, by their index. Activations that lie in the file are `None`.
pub(crate) struct Site {
    pub(crate) forms: Forms,
    pub(crate) reads: Vec<Option<usize>>,
    pub(crate) write: usize,
}

/// What was chosen.
pub(crate) struct Chosen {
    /// Of each step.
    pub(crate) layouts: Vec<Layouts>,
    /// Of each activation, as far as its steps know them and agree.
    pub(crate) extents: Vec<Option<Extents>>,
}

/// Layouts for all steps. `lens` are the elements of each activation; `keeps` says which are wanted as planes in the end. `None` if
/// all are planes.
pub(crate) fn choose(sites: &[Site], lens: &[usize], keeps: &[bool], rules: &dyn LayoutRules) -> Option<Chosen> {
    let extents = extents(sites, lens);
    let options: Vec<Vec<(Layouts, f64)>> = sites.iter().map(|site| options(site, lens, &extents)).collect();
    if options.iter().all(|options| options.len() == 1) {
        return None;
    }
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); lens.len()];
    let mut writers: Vec<Option<usize>> = vec![None; lens.len()];
    for (step, site) in sites.iter().enumerate() {
        site.reads.iter().flatten().for_each(|&read| readers[read].push(step));
        writers[site.write] = Some(step);
    }
    // A single element that steps of any layout read stays as it is.
    let unknown = |id: usize| if lens[id] > 1 { f64::INFINITY } else { 0.0 };
    let conversion = |id: usize| extents[id].map_or_else(|| unknown(id), |extents| rules.conversion_cost(extents));
    let conversions: Vec<f64> = (0..lens.len()).map(conversion).collect();
    let search = LayoutSearch { sites, keeps, options, readers, writers, conversions };

    let cheapest = |options: &Vec<(Layouts, f64)>| (0..options.len()).min_by(|&a, &b| options[a].1.total_cmp(&options[b].1));
    let each_alone: Vec<usize> = search.options.iter().map(|options| cheapest(options).unwrap_or(0)).collect();
    let in_blocks = |options: &Vec<(Layouts, f64)>| options.iter().position(|(layouts, _)| *layouts == Layouts::BLOCKS);
    let blocks = search.options.iter().zip(&each_alone).map(|(options, &other)| in_blocks(options).unwrap_or(other)).collect();
    let planes = vec![0; sites.len()];
    let as_planes = search.cost(&planes);
    let improved = [planes, each_alone, blocks].map(|start| search.improve(start));
    let best = improved.into_iter().min_by(|a, b| search.cost(a).total_cmp(&search.cost(b)))?;
    if search.cost(&best) > WORTHWHILE * as_planes {
        return None;
    }
    let layouts: Vec<Layouts> = best.iter().zip(&search.options).map(|(&chosen, options)| options[chosen].0).collect();
    layouts.iter().any(|layouts| *layouts != Layouts::PLANES).then_some(Chosen { layouts, extents })
}

/// The channels of each activation, where all steps that know them agree.
fn extents(sites: &[Site], lens: &[usize]) -> Vec<Option<Extents>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Known {
        Nothing,
        Channels(Extents),
        Contradictory,
    }
    let mut known = vec![Known::Nothing; lens.len()];
    let learn = |known: &mut Vec<Known>, id: usize, extents: Extents| {
        // A single element lies alike in all layouts but for the lanes behind it: it stays as it is.
        let fits = lens[id] > 1 && lens[id] == extents.images * extents.channels * extents.plane;
        let now = match known[id] {
            Known::Nothing if fits => Known::Channels(extents),
            Known::Channels(before) if before == extents => known[id],
            _ => Known::Contradictory,
        };
        std::mem::replace(&mut known[id], now) != now
    };
    for site in sites {
        if let Forms::Some { reads, writes, .. } = &site.forms {
            for (id, extents) in site.reads.iter().zip(reads) {
                id.map(|id| learn(&mut known, id, *extents));
            }
            learn(&mut known, site.write, *writes);
        }
    }
    // What is computed element by element has the channels of its operands, and they have its own.
    let alike = || sites.iter().filter(|site| matches!(site.forms, Forms::Alike));
    let mut learning = true;
    while learning {
        learning = false;
        for site in alike() {
            let all: Vec<usize> = site.reads.iter().flatten().copied().chain([site.write]).filter(|&id| lens[id] > 1).collect();
            let found = all.iter().find_map(|&id| if let Known::Channels(extents) = known[id] { Some(extents) } else { None });
            if let Some(extents) = found {
                for id in all {
                    learning |= known[id] != Known::Contradictory && learn(&mut known, id, extents);
                }
            }
        }
    }
    known.into_iter().map(|known| if let Known::Channels(extents) = known { Some(extents) } else { None }).collect()
}

/// The layouts in which a step can be computed, with what it costs; planes throughout come first.
fn options(site: &Site, lens: &[usize], extents: &[Option<Extents>]) -> Vec<(Layouts, f64)> {
    let known = |id: &usize| extents[*id].is_some();
    match &site.forms {
        Forms::Planes => vec![(Layouts::PLANES, 0.0)],
        Forms::Alike => {
            // What lies in the file are planes.
            let mut reads = site.reads.iter();
            let any = reads.all(|id| id.is_some_and(|id| lens[id] == 1 || known(&id))) && known(&site.write);
            let blocks = any.then_some((Layouts::BLOCKS, 0.0));
            [(Layouts::PLANES, 0.0)].into_iter().chain(blocks).collect()
        }
        Forms::Some { costs, .. } => {
            let fits = |(layouts, _): &&(Layouts, f64)| {
                let mut reads = site.reads.iter().enumerate();
                reads.all(|(i, id)| layouts.of_read(i) == Layout::Planes || id.as_ref().is_some_and(known))
                    && (layouts.writes == Layout::Planes || known(&site.write))
            };
            let mut options: Vec<(Layouts, f64)> = costs.iter().filter(fits).copied().collect();
            options.sort_by_key(|(layouts, _)| *layouts != Layouts::PLANES);
            options
        }
    }
}

/// What is chosen from.
struct LayoutSearch<'a> {
    sites: &'a [Site],
    keeps: &'a [bool],
    options: Vec<Vec<(Layouts, f64)>>,
    /// The steps that read each activation, and the one that writes it.
    readers: Vec<Vec<usize>>,
    writers: Vec<Option<usize>>,
    /// What converting each activation costs.
    conversions: Vec<f64>,
}

impl LayoutSearch<'_> {
    fn layouts(&self, chosen: &[usize], step: usize) -> Layouts {
        self.options[step][chosen[step]].0
    }

    /// What converting an activation costs, if anyone wants it in another layout than that in which it is written.
    fn conversion(&self, chosen: &[usize], id: usize) -> f64 {
        let written = self.writers[id].map_or(Layout::Planes, |step| self.layouts(chosen, step).writes);
        let wanted = |&step: &usize| {
            let layouts = self.layouts(chosen, step);
            let mut reads = self.sites[step].reads.iter().enumerate().filter(|(_, read)| **read == Some(id));
            reads.any(|(i, _)| layouts.of_read(i) != written)
        };
        let as_planes = self.keeps[id] && written != Layout::Planes;
        if as_planes || self.readers[id].iter().any(wanted) { self.conversions[id] } else { 0.0 }
    }

    /// Of a step and of all that it reads and writes.
    fn cost_around(&self, chosen: &[usize], step: usize) -> f64 {
        let Site { reads, write, .. } = &self.sites[step];
        let conversions: f64 = reads.iter().flatten().chain([write]).map(|&id| self.conversion(chosen, id)).sum();
        self.options[step][chosen[step]].1 + conversions
    }

    /// Of all steps.
    fn cost(&self, chosen: &[usize]) -> f64 {
        let steps: f64 = chosen.iter().zip(&self.options).map(|(&chosen, options)| options[chosen].1).sum();
        steps + (0..self.conversions.len()).map(|id| self.conversion(chosen, id)).sum::<f64>()
    }

    /// Changes the choice for one step after the other as long as that is cheaper.
    fn improve(&self, mut chosen: Vec<usize>) -> Vec<usize> {
        for _ in 0..MOST_SWEEPS {
            let mut changed = false;
            for step in 0..chosen.len() {
                let before = chosen[step];
                let mut best = (self.cost_around(&chosen, step), before);
                for option in 0..self.options[step].len() {
                    chosen[step] = option;
                    let cost = self.cost_around(&chosen, step);
                    if cost < best.0 {
                        best = (cost, option);
                    }
                }
                chosen[step] = best.1;
                changed |= best.1 != before;
            }
            if !changed {
                break;
            }
        }
        chosen
    }
}
