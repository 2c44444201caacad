// The table of layers: what each keeps, and its work in the dense network beside that in the compact one.

import { make } from './dom.js';

/** Three digits and a unit. */
function short(count) {
  const [scale, unit] = count >= 1e9 ? [1e9, ' G'] : count >= 1e6 ? [1e6, ' M'] : count >= 1e3 ? [1e3, ' k'] : [1, ''];
  return (unit ? (count / scale).toPrecision(3) : `${count}`) + unit;
}

function bar(kind, share) {
  const made = make('span', { className: `bar ${kind}` });
  made.style.width = `${100 * share}%`;
  return made;
}

function row(dense, compact, most) {
  const work = compact?.macs ?? 0;
  const facts = [dense.op, dense.window, compact?.kernel].filter(Boolean).join(', ');
  const name = make('th', { scope: 'row' }, dense.name, make('div', { className: 'small', textContent: facts }));
  const kept = make('td');
  if (work === 0) {
    kept.append('nothing: the layer is gone');
  } else {
    for (const what of ['filters', 'columns']) {
      const count = compact[what];
      if (count) {
        const word = what === 'filters' && !dense.window ? 'rows' : what;
        kept.append(make('div', { textContent: `${count.kept} of ${count.of} ${word}` }));
      }
    }
  }
  const figures = make('div', { className: 'figures', textContent: `${short(dense.macs)} → ${short(work)}` });
  const after = work > 0 ? bar('compact', work / most) : '';
  return make('tr', {}, name, kept, make('td', {}, figures, bar('dense', dense.macs / most), after));
}

/** Fills the table and the sentence above it. */
export function showLayers(table, total, dense, compact) {
  const kept = new Map(compact.map((layer) => [layer.name, layer]));
  const weighted = dense.filter((layer) => layer.weights > 0);
  const most = Math.max(...weighted.map((layer) => layer.macs));
  table.replaceChildren(...weighted.map((layer) => row(layer, kept.get(layer.name), most)));
  const work = (layers) => layers.reduce((sum, layer) => sum + (layer.filters ? layer.macs : 0), 0);
  const [before, after] = [work(dense), work(compact)];
  total.textContent =
    `${short(before)} multiply-accumulates in the dense network, ${short(after)} in the compact one: ` +
    `${(before / after).toFixed(2)} times fewer.`;
}
