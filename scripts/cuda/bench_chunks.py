"""Times the CUDA kernels of linear and mesa attention beside torch's scaled_dot_product_attention, and compares them with float64.

    python3 scripts/cuda/bench_chunks.py --code .cuda/code/sm_90a --plan .cuda/plan.so --json OUT.json [--limit 300] [--only WORDS]

As bench.py, of whose helpers it is made. Times by kernel: --kernels.
"""
import torch

import program
from bench import attention_milliseconds, milliseconds, visible

OPERATORS = {'linear': 0, 'mesa': 1}
MAPS = {'elu+1': 0, 'relu': 1, 'identity': 2}
ROWS_AT_A_TIME = 256


def features(x, name):
    if name == 'elu+1':
        return torch.where(x > 0, x + 1, torch.exp(torch.minimum(x, torch.zeros_like(x))))
    return torch.relu(x) if name == 'relu' else x


def seen_by(case, tensors, rows):
    seen = visible(rows, case['queries'], case['keys'], case['causal'])
    return seen & tensors['key_mask'][0].bool()[None] if 'key_mask' in tensors else seen


def linear_rows(case, tensors, query, key, value, rows):
    weights = features(query[rows], case['map']) @ features(key, case['map']).T * seen_by(case, tensors, rows)
    if not case['normalize']:
        return case['scale'] * (weights @ value)
    total = weights.sum(1, keepdim=True)
    return weights @ value / torch.where(total == 0, torch.ones_like(total), total)


def systems(case, tensors, key, ridge, rows):
    """K^T K + diag(ridge) of each row, over the keys that it sees."""
    seen = seen_by(case, tensors, rows).double()
    products = torch.stack([seen @ (key * key[:, d:d + 1]) for d in range(key.shape[1])], 1)
    return products + torch.diag(ridge)


def mesa_rows(case, tensors, query, key, value, ridge, rows):
    out = []
    for part in rows.split(ROWS_AT_A_TIME):
        x = torch.linalg.solve(systems(case, tensors, key, ridge, part), query[part][:, :, None])[:, :, 0]
        out.append((x @ key.T * seen_by(case, tensors, part)) @ value)
    return torch.cat(out)


def reference(case, tensors, head, rows):
    query, key, value = [tensors[name][head].double() for name in ('query', 'key', 'value')]
    if case['operator'] == 'linear':
        return torch.cat([linear_rows(case, tensors, query, key, value, part) for part in rows.split(2048)])
    return mesa_rows(case, tensors, query, key, value, tensors['ridge'][head].double(), rows)


def gradient_reference(case, tensors, head):
    """Of linear attention by automatic differentiation, of mesa attention by its formula (operator README)."""
    query, key, value, dout = [tensors[name][head].double() for name in ('query', 'key', 'value', 'dout')]
    rows = torch.arange(case['queries'], device=query.device)
    if case['operator'] == 'linear':
        leaves = [x.requires_grad_() for x in (query, key, value)]
        found = torch.autograd.grad(linear_rows(case, tensors, *leaves, rows), leaves, dout)
        return dict(zip(('query', 'key', 'value'), found))
    ridge = tensors['ridge'][head].double()
    found = {'query': [], 'key': torch.zeros_like(key), 'value': torch.zeros_like(value), 'ridge': torch.zeros_like(ridge)}
    for part in rows.split(ROWS_AT_A_TIME):
        seen, g = seen_by(case, tensors, part), dout[part]
        gamma = g @ value.T * seen
        right = torch.stack([query[part], gamma @ key], 2)
        x, u = torch.linalg.solve(systems(case, tensors, key, ridge, part), right).unbind(2)
        weights = x @ key.T * seen
        found['query'].append(u)
        found['key'] += (gamma - u @ key.T * seen).T @ x - weights.T @ u
        found['value'] += weights.T @ g
        found['ridge'] -= (u * x).sum(0)
    return dict(found, query=torch.cat(found['query']))


def inputs(case):
    generator = torch.Generator(device='cuda').manual_seed(case['keys'] + case['dim'])

    def normal(*shape):
        return torch.randn(*shape, device='cuda', generator=generator)

    heads = case['heads']
    tensors = {'query': normal(heads, case['queries'], case['dim']), 'key': normal(heads, case['keys'], case['dim']),
               'value': normal(heads, case['keys'], case['value_dim']), 'dout': normal(heads, case['queries'], case['value_dim'])}
    if case['operator'] == 'mesa':
        tensors['ridge'] = torch.full((heads, case['dim']), float(case['ridge']), device='cuda')
    if case.get('masked'):
        tensors['key_mask'] = (torch.rand(1, case['keys'], device='cuda', generator=generator) < 0.8).to(torch.uint8)
    return tensors


def relative(found, wanted):
    return ((found.double() - wanted).norm() / wanted.norm()).item()


def measure(kernels, case, cache, by_kernel):
    tensors = inputs(case)
    heads, queries, keys, dim, value_dim = [case[name] for name in ('heads', 'queries', 'keys', 'dim', 'value_dim')]

    def poisoned(*shape):
        return torch.full(shape, float('nan'), device='cuda')

    options = dict(heads=heads, heads_per_batch=heads, queries=queries, keys=keys, dim=dim, value_dim=value_dim, causal=int(case['causal']))
    if case['operator'] == 'linear':
        options.update(map=MAPS[case['map']], normalize=int(case['normalize']), scale=float(case['scale']))
    given = {name: tensors[name] for name in tensors if name != 'dout'}
    out, probe = poisoned(heads, queries, value_dim), poisoned(heads, queries, dim)
    outputs = dict(out=out, probe_out=probe) if case['operator'] == 'mesa' else dict(out=out)
    source, high, head = OPERATORS[case['operator']], case['precision'] == 'high', heads - 1
    call = kernels.prepare_chunks(source, high, dict(given, **options, **outputs))
    call()
    if case.get('gradient'):
        results = {'query': poisoned(heads, queries, dim), 'key': poisoned(heads, keys, dim), 'value': poisoned(heads, keys, value_dim)}
        given['dout'] = tensors['dout']
        if case['operator'] == 'mesa':
            results['ridge'] = poisoned(heads, dim)
            given['probe'] = probe
        call = kernels.prepare_chunks(source, high, dict(given, **options, **{f'd{name}': x for name, x in results.items()}), gradient=True)
        call()
        torch.cuda.synchronize()
        wanted = gradient_reference(case, tensors, head)
        errors = {name: relative(results[name][head], wanted[name]) for name in results}
    else:
        torch.cuda.synchronize()
        rows = torch.arange(queries, device='cuda')
        if queries > 4096:
            chosen = torch.randperm(queries, device='cuda', generator=torch.Generator(device='cuda').manual_seed(1))[:768]
            rows = torch.cat([rows[:256], chosen.sort()[0]])
        results = {'out': out}
        errors = {'out': relative(out[head][rows], reference(case, tensors, head, rows))}
    result = dict(case, errors=errors, error=max(errors.values()), finite=all(bool(x.isfinite().all()) for x in results.values()))
    if case.get('timed', True):
        first = {name: tensor.clone() for name, tensor in results.items()}
        result['ms'] = milliseconds(call)
        result['sdpa_ms'] = attention_milliseconds(case, cache)
        result['ratio'] = result['ms'] / result['sdpa_ms']
        result['scratch_MB'] = call.scratch.numel() * 4 / 1e6
        result['repeats'] = all(bool((first[name] == results[name]).all()) for name in results)
        if by_kernel:
            result['kernels'] = kernel_times(call)
    return result


def kernel_times(call):
    """Milliseconds of each kernel of a call, by torch's profiler."""
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(3):
            call()
        torch.cuda.synchronize()
    # Its name before torch 2.4 was another.
    name = 'self_device_time_total' if hasattr(profile.key_averages()[0], 'self_device_time_total') else 'self_cuda_time_total'
    return {event.key: getattr(event, name) / 3000 for event in profile.key_averages() if event.key.startswith('tfjs_lla')}


def cases():
    base = dict(heads=32, queries=4096, keys=4096, dim=64, value_dim=64, causal=True, precision='high', map='elu+1', normalize=True,
                scale=1, ridge=1)
    small = dict(heads=4, timed=False)
    odd = (dict(queries=130, keys=130), dict(queries=70, keys=333, dim=37, value_dim=75, masked=True), dict(queries=200, keys=70, dim=20, value_dim=7),
           dict(queries=100, keys=300, dim=128, value_dim=128, causal=False), dict(queries=150, keys=250, dim=250, value_dim=256, masked=True))
    for gradient in (False, True):
        for sizes in odd:
            for change in (dict(), dict(precision='fast'), dict(map='relu', normalize=False, scale=0.5), dict(map='identity', normalize=False)):
                yield {**base, **small, **sizes, **change, 'operator': 'linear', 'gradient': gradient}
            for ridge in (10, 1, 0.1):
                yield {**base, **small, **sizes, 'operator': 'mesa', 'ridge': ridge, 'gradient': gradient}
    for operator in OPERATORS:
        for gradient in (False, True):
            for change in (dict(), dict(causal=False), dict(queries=1024, keys=1024), dict(dim=128, value_dim=128), dict(dim=32, value_dim=32),
                           dict(heads=8, queries=4096, dim=256, value_dim=256)):
                for precision in ('high', 'fast') if operator == 'linear' else ('high',):
                    yield {**base, **change, 'operator': operator, 'gradient': gradient, 'precision': precision}
        for change in (dict(heads=8, queries=16384, keys=16384), dict(heads=2, queries=65536, keys=65536)):
            yield {**base, **change, 'operator': operator}
    yield dict(base, operator='mesa', ridge=0.1)
    yield dict(base, operator='mesa', ridge=0.1, gradient=True)


def describe(case):
    words = [case['operator'], case['precision'], f"{case['heads']}x{case['queries']}x{case['keys']}x{case['dim']}x{case['value_dim']}",
             'causal' if case['causal'] else 'full']
    words += [case['map'], 'normalized' if case['normalize'] else 'bare'] if case['operator'] == 'linear' else [f"ridge {case['ridge']}"]
    return ' '.join(words + ['gradient'] * bool(case.get('gradient')) + ['masked'] * bool(case.get('masked')))


def line(name, result, _):
    times = f"{result['ms']:8.3f} {result['ratio']:7.2f} {result['scratch_MB']:6.0f}" if 'ms' in result else ' ' * 23
    notes = result.get('failure', '') + ' '.join(f'{key} {error:.1e}' for key, error in result.get('errors', {}).items())
    lines = [f"{name:70} {result.get('error', float('nan')):8.1e} {times}  {notes}{program.warnings(result)}"]
    for kernel, time in sorted(result.get('kernels', {}).items(), key=lambda item: -item[1]):
        lines.append(f'{kernel:>78} {time:8.3f}')
    return '\n'.join(lines)


def main():
    cache = {}
    program.run(cases(), describe, lambda kernels, case, arguments: measure(kernels, case, cache, arguments.kernels),
                f"{'case':70} {'error':>8} {'ms':>8} {'x SDPA':>7} {'MB':>6}  errors", line)


if __name__ == '__main__':
    main()
