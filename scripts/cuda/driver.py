"""Starts the CUDA kernels on torch's GPU and stream, through the driver API and the plan that the op library uses."""
import ctypes
from pathlib import Path

import torch

NO_PROBE, GIVEN_PROBE, SOLVED_PROBE = 0, 1, 2
SOURCES = {'softmax': NO_PROBE, 'parallax': GIVEN_PROBE, 'local_linear': SOLVED_PROBE}
MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
DIRECT_USES = {'conjugateGradient': 0, 'auto': 1, 'direct': 2}


def milliseconds(call, blocks=7):
    call()
    torch.cuda.synchronize()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    call()
    end.record()
    end.synchronize()
    repeat = max(1, min(20, int(20 / max(start.elapsed_time(end), 0.01))))
    times = []
    for _ in range(blocks):
        start.record()
        for _ in range(repeat):
            call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / repeat)
    return sorted(times)[len(times) // 2]


def graph_milliseconds(call, repeat=20):
    """The same for kernels that take less time than it takes to start them: recorded once, `repeat` calls in a row."""
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeat):
            call()
    return milliseconds(graph.replay, blocks=9) / repeat


def kernel_milliseconds(call, time=lambda start: milliseconds(start, 3)):
    """Of each kernel of a call by itself; a kernel that is started twice has both times."""
    times = {}
    for entry, start in call.kernels:
        times.setdefault(entry, []).append(time(start))
    return times


class MissingKernel(Exception):
    """The machine code that was loaded has no such kernel."""


class Kernels:
    """The machine code of a folder of .bin files, and the plan of its calls."""

    def __init__(self, code, plan):
        torch.zeros(1, device='cuda')  # makes torch's context current
        self.cuda = ctypes.CDLL('libcuda.so.1')
        self.plan = ctypes.CDLL(str(plan))
        self.modules, self.functions = [], {}
        files = sorted(Path(code).glob('*.bin'))
        if not files:
            raise SystemExit(f'no .bin file in {code}')
        for file in files:
            module = ctypes.c_void_p()
            self._check(self.cuda.cuModuleLoadData(ctypes.byref(module), file.read_bytes()), f'load {file}')
            self.modules.append(module)

    def _check(self, status, what):
        if status != 0:
            text = ctypes.c_char_p()
            self.cuda.cuGetErrorString(status, ctypes.byref(text))
            raise RuntimeError(f'{what}: {(text.value or b"error").decode()} ({status})')

    def _function(self, entry, shared_bytes):
        if self.functions.get(entry, (None, -1))[1] >= shared_bytes:
            return self.functions[entry][0]
        function = ctypes.c_void_p()
        for module in self.modules:
            if self.cuda.cuModuleGetFunction(ctypes.byref(function), module, entry) == 0:
                break
        else:
            raise MissingKernel(entry.decode())
        self._check(self.cuda.cuFuncSetAttribute(function, MAX_DYNAMIC_SHARED, shared_bytes), f'{entry.decode()}: shared memory')
        self.functions[entry] = (function, shared_bytes)
        return function

    def _params(self, fields, kind):
        params = ctypes.create_string_buffer(getattr(self.plan, f'{kind}_bytes')())
        for name, value in fields.items():
            size = ctypes.c_int()
            offset = getattr(self.plan, f'{kind}_field')(name.encode(), ctypes.byref(size))
            if offset < 0:
                raise KeyError(name)
            if isinstance(value, torch.Tensor):
                data = ctypes.c_void_p(value.data_ptr())
            else:
                data = ctypes.c_float(value) if isinstance(value, float) else ctypes.c_int(value)
            if ctypes.sizeof(data) != size.value:
                raise TypeError(f'{name}: {size.value} bytes, not {ctypes.sizeof(data)}')
            ctypes.memmove(ctypes.addressof(params) + offset, ctypes.addressof(data), size.value)
        return params

    def prepare(self, source, high, fields, gradient=False):
        """Returns a function that starts all kernels of a call on torch's stream; `kernels` of it are those one by one."""
        # The code that is compiled for this GPU goes by the same (kernels/common/cuda/capability.h).
        large_shared = int(torch.cuda.get_device_capability()[0] in (9, 10))
        fields = dict(fields, large_shared=large_shared)
        return self._prepare('params', fields, self.plan.plan_call, self.plan.plan_launch, source, int(high), int(gradient))

    def prepare_chunks(self, mesa, high, fields, gradient=False):
        """The same for linear or mesa attention."""
        return self._prepare('chunk', fields, self.plan.chunk_call, self.plan.chunk_launch, int(mesa), int(high), int(gradient))

    def prepare_step(self, source, fields, length=-1, total=0, window=0):
        """The same for a step of a cache that holds `length` tokens or, without one, for a call with few queries."""
        return self._prepare('step', fields, self.plan.step_call, self.plan.step_launch, source, length, total, window)

    def prepare_state_step(self, mesa, fields):
        """The same for a step of linear or mesa attention."""
        return self._prepare('state', fields, self.plan.state_call, self.plan.state_launch, int(mesa))

    def _prepare(self, kind, fields, plan_call, plan_launch, *options):
        params = self._params(fields, kind)
        scratch_bytes = ctypes.c_longlong()
        plan_call(params, *options, None, ctypes.byref(scratch_bytes))
        scratch = torch.full((scratch_bytes.value // 4 + 1,), float('nan'), device='cuda')
        count = plan_call(params, *options, ctypes.c_void_p(scratch.data_ptr()), ctypes.byref(scratch_bytes))
        if count < 0:
            raise ValueError('no kernel for these sizes')
        plan_launch.restype = ctypes.c_char_p
        launches = []
        for i in range(count):
            sizes = (ctypes.c_int * 3)()
            own = ctypes.create_string_buffer(len(params))
            entry = plan_launch(i, sizes, own)
            arguments = (ctypes.c_void_p * 1)(ctypes.addressof(own))
            launches.append((entry, self._function(entry, sizes[2]), list(sizes), own, arguments))

        def start(launch):
            entry, function, (blocks, threads, shared), _, arguments = launch
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            status = self.cuda.cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, shared, stream, arguments, None)
            self._check(status, entry.decode())

        def run():
            for launch in launches:
                start(launch)

        run.kernels = [(launch[0].decode(), lambda launch=launch: start(launch)) for launch in launches]
        run.scratch = scratch
        run.tensors = [value for value in fields.values() if isinstance(value, torch.Tensor)]
        return run
