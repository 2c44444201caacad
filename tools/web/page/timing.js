// How long runs take, as far as a browser's clock tells: it is coarse, so a sample is as many runs as it takes to be long beside a
// tick.

const samples = 50;
/** How much longer a sample is than a tick of the clock. */
const ticks = 20;
/** The shortest sample, and how long each network runs before the first, in milliseconds: engines compile twice. */
const [shortest, warm] = [1, 150];

const pause = () => new Promise((resolve) => setTimeout(resolve));

/** The clock's tick in milliseconds. */
function tick() {
  let [least, last] = [Infinity, performance.now()];
  for (let changes = 0; changes < 5; ) {
    const now = performance.now();
    if (now > last) {
      [least, last, changes] = [Math.min(least, now - last), now, changes + 1];
    }
  }
  return least;
}

function time(run, count) {
  const start = performance.now();
  for (let i = 0; i < count; i++) {
    run();
  }
  return performance.now() - start;
}

/**
 * Times functions in turns, so that what disturbs one disturbs the others, too: for each the median of 50 samples in milliseconds,
 * and how many runs a sample is of. Nothing, once `isWanted` says that nobody waits any more.
 */
export async function medians(runs, isWanted) {
  const least = Math.max(shortest, ticks * tick());
  const counts = [];
  for (const run of runs) {
    for (const start = performance.now(); performance.now() - start < warm; await pause()) {
      time(run, 10);
    }
    let count = 1;
    // The shortest of some, since whatever else runs makes one long.
    while (Math.min(time(run, count), time(run, count), time(run, count)) < least) {
      count *= 2;
    }
    counts.push(count);
  }
  const times = runs.map(() => []);
  for (let sample = 0; sample < samples; sample++) {
    runs.forEach((run, i) => times[i].push(time(run, counts[i]) / counts[i]));
    await pause();
    if (!isWanted()) {
      return undefined;
    }
  }
  const median = (all) => all.sort((a, b) => a - b)[Math.floor(all.length / 2)];
  return times.map((all, i) => ({ median: median(all), runs: counts[i], samples }));
}
