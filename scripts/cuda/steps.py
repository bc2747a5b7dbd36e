"""Cases of bench.py: one step of a cache, and calls of few queries with their keys divided among blocks and without.

GB/s counts the cache's (or the call's) keys and values, or sums, once; `copy` is a device copy of as many bytes, with reading
and writing counted. Both repeat on the same memory: what fits into the second-level cache stays there.
"""
import torch

from driver import SOURCES, graph_milliseconds, kernel_milliseconds

FEATURE_MAPS = {'elu+1': 0, 'relu': 1, 'identity': 2}


def describe(case):
    sizes = f"{case['heads']}x{case['length']}x{case['dim']}x{case['value_dim']}"
    words = [case['operator'], 'step' if case['tokens'] else f"few queries {case['queries']}", sizes]
    if case['tokens'] > 1:
        words.append(f"{case['tokens']} tokens")
    if case.get('window'):
        words.append(f"window {case['window']}")
    if case.get('masked'):
        words.append('masked')
    if not case['tokens']:
        words.append('divided' if case['divided'] else 'whole')
    return ' '.join(words)


def cases():
    base = dict(step=True, heads=32, dim=64, value_dim=64, tokens=1, ridge=1.0)
    family = list(SOURCES)
    for odd in (dict(heads=4, length=700, dim=37, value_dim=75, tokens=3, masked=True), dict(heads=4, length=50, window=50, tokens=5),
                dict(heads=2, length=300, dim=250, value_dim=256), dict(heads=4, length=1000, dim=128, value_dim=128, tokens=2),
                dict(heads=2, length=5, dim=20, value_dim=300, tokens=2)):
        for operator in family:
            yield {**base, **odd, 'operator': operator, 'timed': False}
    for operator in ('linear', 'mesa'):
        for odd in (dict(heads=4, length=30, dim=37, value_dim=75, tokens=70, masked=True), dict(heads=2, length=400, dim=250, value_dim=256)):
            yield {**base, **odd, 'operator': operator, 'timed': False}
    for length in (1024, 4096, 32768):
        for operator in (*family, 'linear', 'mesa'):
            yield dict(base, operator=operator, length=length - 1)
    for operator in family:
        yield dict(base, operator=operator, length=4092, tokens=4)
        yield dict(base, operator=operator, length=4095, dim=128, value_dim=128)
    for queries in (1, 4, 16, 64):
        for operator in family:
            for divided in (True, False):
                yield dict(base, operator=operator, length=65536, tokens=0, queries=queries, divided=divided)


def relative(found, wanted):
    return ((found.double() - wanted).norm() / wanted.norm()).item()


def timed(case, call, result, used_bytes, copies={}):
    """Adds the time of a call, of each of its kernels, and the bandwidth that this is."""
    if not case.get('timed', True):
        return result
    result['ms'] = graph_milliseconds(call)
    result['kernels'] = kernel_milliseconds(call, graph_milliseconds)
    result['gigabytes_per_second'] = used_bytes / result['ms'] / 1e6
    if used_bytes not in copies:
        source = torch.zeros(used_bytes // 4, device='cuda')
        target = torch.zeros_like(source)
        copies[used_bytes] = graph_milliseconds(lambda: target.copy_(source))
    result['copy_gigabytes_per_second'] = 2 * used_bytes / copies[used_bytes] / 1e6
    result['note'] = f"{result['gigabytes_per_second']:.0f} GB/s, copy {result['copy_gigabytes_per_second']:.0f}"
    return result


def normal_tensors(case, queries, keys):
    generator = torch.Generator(device='cuda').manual_seed(keys + case['dim'])
    sizes = {'query': (queries, case['dim']), 'key': (keys, case['dim']), 'value': (keys, case['value_dim'])}
    tensors = {name: torch.randn(case['heads'], *size, device='cuda', generator=generator) for name, size in sizes.items()}
    if case['operator'] == 'parallax':
        tensors['probe'] = 0.1 * torch.randn(case['heads'], queries, case['dim'], device='cuda', generator=generator)
    if case.get('masked'):
        tensors['key_mask'] = (torch.rand(1, keys, device='cuda', generator=generator) < 0.8).to(torch.uint8)
        if case['operator'] in SOURCES:
            tensors['key_bias'] = torch.randn(case['heads'], keys, device='cuda', generator=generator)
    return tensors


def measure(kernels, case, reference):
    if case['tokens'] == 0:
        return measure_few_queries(kernels, case, reference)
    return (measure_step if case['operator'] in SOURCES else measure_state_step)(kernels, case, reference)


def poisoned(*shape):
    return torch.full(shape, float('nan'), device='cuda')


def common_fields(case, tensors, out):
    return dict(out=out, heads=case['heads'], heads_per_batch=case['heads'], dim=case['dim'], value_dim=case['value_dim'],
                scale=float(case['dim'] ** -0.5), ridge_value=case['ridge'],
                **{name: tensors[name] for name in ('query', 'probe') if name in tensors})


def measure_step(kernels, case, reference):
    heads, length, t, window = case['heads'], case['length'], case['tokens'], case.get('window', 0)
    tensors = normal_tensors(case, t, length + t)
    # The cache went round: its oldest token stands in its middle.
    capacity = window or length + t
    total = length + capacity // 2
    slots = torch.arange(total - length, total, device='cuda') % capacity
    cached = {}
    for name in ('key', 'value'):
        cached[f'cached_{name}'] = poisoned(heads, capacity, tensors[name].shape[2])
        cached[f'cached_{name}'][:, slots] = tensors[name][:, :length]
    hidden = torch.finfo(torch.float32).min
    if case.get('masked'):
        bias = torch.where(tensors['key_mask'].bool(), tensors['key_bias'], hidden)
        cached['cached_bias'] = poisoned(heads, capacity)
        cached['cached_bias'][:, slots] = bias[:, :length]
    new = {name: tensors[name][:, length:].contiguous() for name in ('key', 'value', 'key_mask', 'key_bias') if name in tensors}
    out = poisoned(heads, t, case['value_dim'])
    fields = dict(common_fields(case, tensors, out), **cached, **new, queries=t, new_keys=t, capacity=capacity, causal=1)
    call = kernels.prepare_step(SOURCES[case['operator']], fields, length, total, window)
    call()
    torch.cuda.synchronize()
    head = heads - 1
    wanted = []
    for i in range(t):
        end = length + i + 1
        begin = max(0, end - window) if window else 0
        seen = {name: x[:, begin:end] if name in ('key', 'value', 'key_mask', 'key_bias') else x[:, i:i + 1] for name, x in tensors.items()}
        wanted.append(reference(dict(case, causal=True), seen, head, torch.zeros(1, dtype=torch.long, device='cuda')))
    written = (total + torch.arange(t, device='cuda')) % capacity
    result = dict(case, error=relative(out[head], torch.cat(wanted)), finite=bool(out.isfinite().all()))
    for name in ('key', 'value'):
        if not bool((cached[f'cached_{name}'][:, written] == new[name]).all()):
            result['failure'] = f'{name} was not appended'
    first = out.clone()
    if window == 0:
        # What a step appended it does not see again: the same once more.
        call()
        result['repeats'] = bool((first == out).all())
    return timed(case, call, result, 4 * heads * (length + t) * (case['dim'] + case['value_dim']))


def measure_state_step(kernels, case, reference):
    heads, length, t, dim = case['heads'], case['length'], case['tokens'], case['dim']
    is_mesa = case['operator'] == 'mesa'
    tensors = normal_tensors(case, length + t, length + t)
    visible = tensors.get('key_mask', torch.ones(1, length + t, device='cuda')).double()[:, :, None]
    key, value, query = [tensors[name].double() for name in ('key', 'value', 'query')]
    if not is_mesa:
        key, query = [torch.where(x > 0, x + 1, x.exp()) for x in (key, query)]
    left = (key * visible)[:, :length]
    sums = dict(left_sum=(left.mT @ left if is_mesa else left.sum(1)).float().contiguous(),
                key_value_sum=(left.mT @ value[:, :length]).float().contiguous(),
                count=visible[0, :length].sum().float().expand(heads).contiguous())
    new = {name: tensors[name][:, length:].contiguous() for name in ('query', 'key', 'value', 'key_mask') if name in tensors}
    out = poisoned(heads, t, case['value_dim'])
    fields = dict(common_fields(case, {}, out), **sums, **new, tokens=t, feature_map=FEATURE_MAPS['identity' if is_mesa else 'elu+1'], normalize=1)
    call = kernels.prepare_state_step(is_mesa, fields)
    call()
    torch.cuda.synchronize()
    head, wanted = heads - 1, []
    for i in range(length, length + t):
        seen = (key[head] * visible[0])[:i + 1]
        products = seen.T @ value[head, :i + 1]
        if is_mesa:
            system = seen.T @ seen + case['ridge'] * torch.eye(dim, device='cuda', dtype=torch.float64)
            wanted.append(torch.linalg.solve(system, query[head, i]) @ products)
        else:
            wanted.append(query[head, i] @ products / (query[head, i] @ seen.sum(0)))
    all_seen = (key[head] * visible[0])
    left = all_seen.T @ all_seen if is_mesa else all_seen.sum(0)
    result = dict(case, error=relative(out[head], torch.stack(wanted)), finite=bool(out.isfinite().all()))
    for name, expected in (('left_sum', left), ('key_value_sum', all_seen.T @ value[head])):
        if relative(sums[name][head], expected) > 1e-5:
            result['failure'] = f'{name} is wrong'
    return timed(case, call, result, sum(4 * sums[name].numel() for name in ('left_sum', 'key_value_sum')))


def measure_few_queries(kernels, case, reference):
    heads, queries, keys = case['heads'], case['queries'], case['length']
    tensors = normal_tensors(case, queries, keys)
    out = poisoned(heads, queries, case['value_dim'])
    probe_out = poisoned(heads, queries, case['dim'])
    fields = dict(common_fields(case, tensors, out), key=tensors['key'], value=tensors['value'], queries=queries, causal=0)
    if case['operator'] == 'local_linear':
        fields['probe_out'] = probe_out
    source = SOURCES[case['operator']]
    if case['divided']:
        call = kernels.prepare_step(source, dict(fields, new_keys=keys))
    else:
        call = kernels.prepare(source, True, dict(fields, keys=keys, tolerance=1e-6, max_iterations=2 * case['dim']))
    call()
    torch.cuda.synchronize()
    head = heads - 1
    # One row at a time of few: the reference's systems take keys x dim x dim numbers.
    rows = torch.arange(min(queries, 4), device='cuda')
    wanted = reference(dict(case, causal=False), tensors, head, rows)
    result = dict(case, error=relative(out[head, rows], wanted), finite=bool(out.isfinite().all()))
    first = out.clone()
    call()
    result['repeats'] = bool((first == out).all())
    return timed(case, call, result, 4 * heads * keys * (case['dim'] + case['value_dim']))
