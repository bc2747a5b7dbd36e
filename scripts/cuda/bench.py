"""Times the CUDA kernels beside torch's scaled_dot_product_attention on one GPU, and compares them with float64.

    python3 scripts/cuda/bench.py --code .cuda/code/sm_90 --plan .cuda/plan.so --json OUT.json [--limit 300] [--only WORDS]

Needs Python, torch with CUDA, and NVIDIA's driver; no compiler. scripts/cuda/README.md says how code and plan are made. Times are
medians of blocks of calls between CUDA events and include the kernels that prepare keys and values. Ratios are to the
forward pass of scaled_dot_product_attention in bfloat16 of the same shape and run.
"""
import itertools
import time

import torch

import program
import steps
from driver import DIRECT_USES, SOURCES, kernel_milliseconds, milliseconds

torch.backends.cuda.matmul.allow_tf32 = False


def visible(rows, queries, keys, causal):
    column = torch.arange(keys, device='cuda')[None]
    return column < keys - queries + rows[:, None] + 1 if causal else torch.ones(len(rows), keys, dtype=torch.bool, device='cuda')


def reference(case, tensors, head, rows):
    """Rows of one head in float64, by a direct solve; zeros where a row sees no key."""
    query, key, value = [tensors[name][head].double() for name in ('query', 'key', 'value')]
    keys, dim = key.shape
    out = []
    for part in rows.split(2048):
        seen = visible(part, len(query), keys, case['causal'])
        if 'key_mask' in tensors:
            seen = seen & tensors['key_mask'][0].bool()[None]
        score = query[part] @ key.T * dim ** -0.5
        if 'key_bias' in tensors:
            score = score + tensors['key_bias'][head].double()
        weights = torch.softmax(score.masked_fill(~seen, -1e300), 1) * seen
        if case['operator'] != 'softmax':
            mean = weights @ key
            if case['operator'] == 'parallax':
                probe = -tensors['probe'][head].double()[part]
            else:
                products = torch.einsum('ja,jb->jab', key - key.mean(0), key - key.mean(0)).reshape(keys, -1)
                shifted = mean - key.mean(0)
                system = (weights @ products).reshape(-1, dim, dim) - shifted[:, :, None] * shifted[:, None]
                ridge = tensors['ridge'][head].double()[part] if 'ridge' in tensors else torch.full((len(part),), case['ridge'], device='cuda', dtype=torch.float64)
                system += ridge[:, None, None] * torch.eye(dim, device='cuda', dtype=torch.float64)
                probe = torch.linalg.solve(system, (query[part] - mean)[:, :, None])[:, :, 0]
            weights = weights * (1 + probe @ key.T - (mean * probe).sum(1, keepdim=True))
        out.append(weights @ value)
    return torch.cat(out)


def gradient_reference(case, tensors, head):
    """Gradients of one head in float64, by automatic differentiation through the direct solve."""
    names = [name for name in ('query', 'key', 'value', 'probe') if name in tensors]
    leaves = {name: tensors[name][head:head + 1].double().requires_grad_() for name in names}
    if case['operator'] == 'local_linear':
        leaves['ridge'] = torch.full((1, case['queries']), float(case['ridge']), device='cuda', dtype=torch.float64, requires_grad=True)
    if 'key_bias' in tensors:
        leaves['key_bias'] = tensors['key_bias'][head:head + 1].double().requires_grad_()
    given = dict(leaves)
    if 'key_mask' in tensors:
        given['key_mask'] = tensors['key_mask']
    out = reference(case, given, 0, torch.arange(case['queries'], device='cuda'))
    found = torch.autograd.grad(out, list(leaves.values()), tensors['dout'][head].double())
    return {name: gradient[0] for name, gradient in zip(leaves, found)}


def inputs(case):
    generator = torch.Generator(device='cuda')
    generator.manual_seed(case['keys'] + case['dim'])

    def normal(*shape):
        return torch.randn(*shape, device='cuda', generator=generator)

    heads = case['heads']
    tensors = {'query': normal(heads, case['queries'], case['dim']), 'key': normal(heads, case['keys'], case['dim']),
               'value': normal(heads, case['keys'], case['value_dim'])}
    if case.get('spectrum'):
        # Correlated keys with a mean: dimension i has the standard deviation i^-spectrum.
        factor = torch.arange(1, case['dim'] + 1, device='cuda', dtype=torch.float32) ** -case['spectrum']
        factor *= (case['dim'] / (factor ** 2).sum()).sqrt()
        for name in ('query', 'key'):
            tensors[name] = tensors[name] * factor + case['mean']
    if case['operator'] == 'parallax':
        tensors['probe'] = 0.1 * normal(heads, case['queries'], case['dim'])
    if case.get('masked'):
        tensors['key_mask'] = (torch.rand(1, case['keys'], device='cuda', generator=generator) < 0.8).to(torch.uint8)
        tensors['key_bias'] = normal(heads, case['keys'])
    return tensors


def attention_milliseconds(case, cache):
    """The yardstick: torch's own attention in bfloat16."""
    shape = (case['heads'], case['queries'], case['keys'], case['dim'], case['causal'])
    if shape not in cache:
        query = torch.randn(1, case['heads'], case['queries'], case['dim'], device='cuda', dtype=torch.bfloat16)
        key, value = [torch.randn(1, case['heads'], case['keys'], case['dim'], device='cuda', dtype=torch.bfloat16) for _ in range(2)]
        cache[shape] = milliseconds(lambda: torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=case['causal']))
    return cache[shape]


def attention_gradient_milliseconds(case, cache):
    """The same of the gradient: torch's backward pass alone."""
    shape = (case['heads'], case['queries'], case['keys'], case['dim'], case['causal'], 'gradient')
    if shape not in cache:
        query = torch.randn(1, case['heads'], case['queries'], case['dim'], device='cuda', dtype=torch.bfloat16, requires_grad=True)
        key, value = [torch.randn(1, case['heads'], case['keys'], case['dim'], device='cuda', dtype=torch.bfloat16, requires_grad=True)
                      for _ in range(2)]
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=case['causal'])
        dout = torch.randn_like(out)
        cache[shape] = milliseconds(lambda: torch.autograd.grad(out, (query, key, value), dout, retain_graph=True))
    return cache[shape]


def measure(kernels, case, cache):
    tensors = inputs(case)
    heads, queries = case['heads'], case['queries']
    out = torch.full((heads, queries, case['value_dim']), float('nan'), device='cuda')
    probe_out = torch.full((heads, queries, case['dim']), float('nan'), device='cuda')
    iterations = torch.zeros(heads * ((queries + 63) // 64), dtype=torch.int32, device='cuda')
    fields = dict(tensors, out=out, probe_out=probe_out, iterations=iterations, heads=heads, heads_per_batch=heads, queries=queries,
                  keys=case['keys'], dim=case['dim'], value_dim=case['value_dim'], causal=int(case['causal']),
                  scale=float(case['dim'] ** -0.5), ridge_value=float(case.get('ridge', 1)), tolerance=float(case.get('tolerance', 1e-6)),
                  max_iterations=int(case.get('max_iterations', 8 * case['dim'])))
    fields['direct.use'] = DIRECT_USES[case.get('solver', 'conjugateGradient')]
    call = kernels.prepare(SOURCES[case['operator']], case['precision'] == 'high', fields)
    call()
    torch.cuda.synchronize()
    rows = torch.arange(queries, device='cuda')
    if queries > 4096:
        chosen = torch.randperm(queries, device='cuda', generator=torch.Generator(device='cuda').manual_seed(1))[:768]
        rows = torch.cat([rows[:256], chosen.sort()[0]])
    head = heads - 1
    wanted = reference(case, tensors, head, rows)
    error = ((out[head][rows].double() - wanted).norm() / wanted.norm()).item()
    first = out.clone()
    result = dict(case, error=error, finite=bool(out.isfinite().all()))
    if case.get('timed', True):
        result['ms'] = milliseconds(call)
        result['sdpa_ms'] = attention_milliseconds(case, cache)
        result['ratio'] = result['ms'] / result['sdpa_ms']
        result['repeats'] = bool((first == out).all())
        result['kernels'] = kernel_milliseconds(call)
    if case['operator'] == 'local_linear':
        result['iterations'] = [iterations.float().mean().item(), iterations.max().item()]
    return result


def measure_gradient(kernels, case, cache):
    """As `measure`; the errors are of every gradient, of the last head."""
    tensors = inputs(case)
    heads, queries, keys = case['heads'], case['queries'], case['keys']

    def poisoned(*shape):
        return torch.full(shape, float('nan'), device='cuda')

    options = dict(heads=heads, heads_per_batch=heads, queries=queries, keys=keys, dim=case['dim'], value_dim=case['value_dim'],
                   causal=int(case['causal']), scale=float(case['dim'] ** -0.5), ridge_value=float(case.get('ridge', 1)),
                   tolerance=float(case.get('tolerance', 1e-6)), max_iterations=int(case.get('max_iterations', 8 * case['dim'])))
    options['direct.use'] = DIRECT_USES[case.get('solver', 'conjugateGradient')]
    source, high = SOURCES[case['operator']], case['precision'] == 'high'
    generator = torch.Generator(device='cuda').manual_seed(7)
    tensors['dout'] = torch.randn(heads, queries, case['value_dim'], device='cuda', generator=generator)
    given = dict(tensors)
    if case['operator'] == 'local_linear':
        given['probe'] = poisoned(heads, queries, case['dim'])
        forward = {name: tensors[name] for name in tensors if name != 'dout'}
        kernels.prepare(source, high, dict(forward, **options, out=poisoned(heads, queries, case['value_dim']), probe_out=given['probe']))()
    results = {'query': poisoned(heads, queries, case['dim']), 'key': poisoned(heads, keys, case['dim']),
               'value': poisoned(heads, keys, case['value_dim'])}
    if 'key_bias' in tensors:
        results['key_bias'] = poisoned(heads, keys)
    if case['operator'] == 'parallax':
        results['probe'] = poisoned(heads, queries, case['dim'])
    if case['operator'] == 'local_linear':
        results['ridge'] = poisoned(heads, queries)
    fields = {{'key_bias': 'dbias'}.get(name, f'd{name}'): tensor for name, tensor in results.items()}
    call = kernels.prepare(source, high, dict(given, **options, **fields), gradient=True)
    call()
    torch.cuda.synchronize()
    wanted = gradient_reference(case, tensors, heads - 1)
    errors = {name: ((results[name][heads - 1].double() - wanted[name]).norm() / wanted[name].norm()).item() for name in results}
    result = dict(case, errors=errors, error=max(errors.values()), finite=all(bool(x.isfinite().all()) for x in results.values()))
    if case.get('timed', True):
        first = {name: tensor.clone() for name, tensor in results.items()}
        result['ms'] = milliseconds(call)
        result['sdpa_ms'] = attention_milliseconds(case, cache)
        result['ratio'] = result['ms'] / result['sdpa_ms']
        result['sdpa_gradient_ms'] = attention_gradient_milliseconds(case, cache)
        result['ratio_to_gradient'] = result['ms'] / result['sdpa_gradient_ms']
        result['repeats'] = all(bool((first[name] == results[name]).all()) for name in results)
        result['kernels'] = kernel_milliseconds(call)
    return result


def cases():
    base = dict(heads=32, queries=4096, keys=4096, dim=64, value_dim=64, causal=True)
    small = dict(heads=4, timed=False)
    for precision in ('high', 'fast'):
        for odd in (dict(queries=130, keys=130, dim=64, value_dim=64), dict(queries=70, keys=333, dim=37, value_dim=75, masked=True),
                    dict(queries=200, keys=70, dim=20, value_dim=7), dict(queries=100, keys=300, dim=128, value_dim=128, causal=False),
                    dict(queries=150, keys=250, dim=250, value_dim=256, masked=True)):
            for operator in SOURCES:
                yield {**base, **small, **odd, 'operator': operator, 'precision': precision, 'ridge': 10}
    for precision in ('high', 'fast'):
        for ridge in (10, 1, 0.1):
            yield dict(base, operator='local_linear', precision=precision, ridge=ridge, tolerance=1e-3)
        yield dict(base, operator='softmax', precision=precision)
        yield dict(base, operator='parallax', precision=precision)
    for ridge in (10, 1):
        yield dict(base, operator='local_linear', precision='high', ridge=ridge, tolerance=1e-6)
        for spectrum, mean in ((0.5, 2.0), (1.0, 1.0)):
            yield dict(base, heads=8, operator='local_linear', precision='high', ridge=ridge, tolerance=1e-4, spectrum=spectrum, mean=mean)
    for precision in ('high', 'fast'):
        for odd in (dict(queries=130, keys=130), dict(queries=70, keys=333, dim=50, value_dim=55, masked=True),
                    dict(queries=100, keys=300, causal=False)):
            for operator in SOURCES:
                yield {**base, **small, **odd, 'operator': operator, 'precision': precision, 'ridge': 10, 'gradient': True}
        for operator in SOURCES:
            yield dict(base, operator=operator, precision=precision, ridge=10, tolerance=1e-3, gradient=True)
    yield dict(base, operator='local_linear', precision='high', ridge=0.1, tolerance=5e-4, gradient=True)
    for precision in ('high', 'fast'):
        for change in (dict(queries=1024, keys=1024), dict(heads=8, queries=16384, keys=16384), dict(dim=32, value_dim=32),
                       dict(dim=128, value_dim=128), dict(causal=False), dict(dim=256, value_dim=256, heads=8), dict(heads=2, queries=65536, keys=65536)):
            yield dict({**base, **change}, operator='local_linear', precision=precision, ridge=10, tolerance=1e-3)
        yield dict({**base, 'dim': 128, 'value_dim': 128}, operator='softmax', precision=precision)
    yield from direct_cases(base, small)


def direct_cases(base, small):
    """Rows that are solved directly: all, those with a small ridge, and none of a call that could have some."""
    base = dict(base, operator='local_linear', precision='high')
    for gradient in (False, True):
        for odd in (dict(queries=111, keys=111, dim=64, value_dim=60), dict(queries=70, keys=333, dim=37, value_dim=75, masked=True),
                    dict(queries=200, keys=70, dim=20, value_dim=7), dict(queries=100, keys=300, dim=128, value_dim=128, causal=False),
                    dict(queries=150, keys=250, dim=250, value_dim=256, masked=True)):
            for solver in ('direct', 'auto'):
                yield {**base, **small, **odd, 'ridge': 1e-4, 'solver': solver, 'gradient': gradient}
        for spectrum, mean in ((0.5, 2.0), (1.0, 1.0)):
            yield dict(base, heads=2, queries=2048, keys=2048, ridge=1e-3, solver='direct', spectrum=spectrum, mean=mean, gradient=gradient)
        for ridge in (1, 1e-3):
            yield dict(base, ridge=ridge, solver='direct', gradient=gradient)
        for solver in ('conjugateGradient', 'auto'):
            yield dict(base, ridge=1, tolerance=1e-3, solver=solver, gradient=gradient)
        for change in (dict(dim=32, value_dim=32), dict(dim=128, value_dim=128, heads=8), dict(dim=256, value_dim=256, heads=2, queries=2048, keys=2048),
                       dict(queries=1024, keys=1024), dict(heads=2, queries=16384, keys=16384)):
            yield dict({**base, **change}, ridge=1e-3, solver='direct', gradient=gradient)


def describe(case):
    words = [case['operator'], case['precision'], f"{case['heads']}x{case['queries']}x{case['keys']}x{case['dim']}x{case['value_dim']}",
             'causal' if case['causal'] else 'full']
    if case.get('gradient'):
        words.append('gradient')
    if case['operator'] == 'local_linear':
        words.append(f"ridge {case['ridge']} tolerance {case.get('tolerance', 1e-6):g}")
        words.append(case.get('solver', 'conjugateGradient'))
    if case.get('masked'):
        words.append('masked')
    if case.get('spectrum'):
        words.append(f"spectrum {case['spectrum']} mean {case['mean']}")
    return ' '.join(words)


def line(name, result, arguments):
    ratio = f"{result['ratio']:7.2f}" if 'ratio' in result else ' ' * 7
    time_columns = f"{result['ms']:8.3f} {ratio}" if 'ms' in result else ' ' * 16
    notes = result.get('failure', '')
    if 'ratio_to_gradient' in result:
        notes += f"{result['ratio_to_gradient']:.2f} x SDPA's gradient "
    notes += ' '.join(f'{number:.1f}' for number in result.get('iterations', []))
    notes += ' '.join(f'd{key} {error:.1e}' for key, error in result.get('errors', {}).items())
    notes += result.get('note', '') + program.warnings(result)
    lines = [f"{name:78} {result.get('error', float('nan')):8.1e} {time_columns}  {notes}"]
    if arguments.kernels:
        for entry, times in result.get('kernels', {}).items():
            lines.append(f"    {entry:74} {' '.join(f'{time:17.3f}' for time in times)}")
    return '\n'.join(lines)


def main():
    cache = {}

    def measure_any(kernels, case, _):
        if case.get('step'):
            return steps.measure(kernels, case, reference)
        return (measure_gradient if case.get('gradient') else measure)(kernels, case, cache)

    program.run(itertools.chain(cases(), steps.cases()), lambda case: steps.describe(case) if case.get('step') else describe(case),
                measure_any, f"{'case':78} {'error':>8} {'ms':>8} {'x SDPA':>7}  iterations (mean, most)", line)


if __name__ == '__main__':
    start_time = time.time()
    main()
    print(f'{time.time() - start_time:.0f} s')
