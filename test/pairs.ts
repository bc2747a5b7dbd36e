/** The values that each named part of a case can take. */
export type Factors = Readonly<Record<string, readonly string[]>>;

/** One value per factor. */
export type Choice<F extends Factors> = { readonly [K in keyof F]: F[K][number] };

/** Every combination of the factors' values; the last factor changes fastest. */
export function allCombinations<F extends Factors>(factors: F): Choice<F>[] {
  return Object.entries(factors).reduce<Choice<F>[]>(
    (choices, [name, values]) => choices.flatMap((choice) => values.map((value) => ({ ...choice, [name]: value }))),
    [{} as Choice<F>],
  );
}

/** The pairs of values that a combination covers, each as a text. */
function pairsOf(choice: Record<string, string>): string[] {
  const entries = Object.entries(choice).map(([name, value]) => `${name}=${value}`);
  return entries.flatMap((a, i) => entries.slice(i + 1).map((b) => `${a} ${b}`));
}

/**
 * A small subset of the combinations in which every pair of values of two factors occurs (greedy: each step takes the
 * combination with the most pairs not seen yet).
 */
export function coverPairs<F extends Factors>(factors: F): Choice<F>[] {
  const candidates = allCombinations(factors).map((choice) => ({ choice, pairs: pairsOf(choice) }));
  const missing = new Set(candidates.flatMap(({ pairs }) => pairs));
  const covering: Choice<F>[] = [];
  // A combination's count only falls, so a bound from an earlier step rules most of them out without counting again.
  const bounds = candidates.map(({ pairs }) => pairs.length);
  while (missing.size > 0) {
    let best = 0;
    let bestCount = 0;
    candidates.forEach(({ pairs }, i) => {
      if (bounds[i] <= bestCount) return;
      bounds[i] = pairs.filter((pair) => missing.has(pair)).length;
      if (bounds[i] > bestCount) {
        best = i;
        bestCount = bounds[i];
      }
    });
    for (const pair of candidates[best].pairs) missing.delete(pair);
    covering.push(candidates[best].choice);
  }
  return covering;
}
