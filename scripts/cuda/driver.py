"""Starts the CUDA kernels on torch's GPU and stream, through the driver API and the plan that the op library uses."""
import ctypes
from pathlib import Path

import torch

NO_PROBE, GIVEN_PROBE, SOLVED_PROBE = 0, 1, 2
SOURCES = {'softmax': NO_PROBE, 'parallax': GIVEN_PROBE, 'local_linear': SOLVED_PROBE}
MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
DIRECT_USES = {'conjugateGradient': 0, 'auto': 1, 'direct': 2}


class MissingKernel(Exception):
    """The machine code that was loaded has no such kernel."""


class Kernels:
    """The machine code of a folder of .bin files, and the plan of its calls."""

    def __init__(self, code, plan):
        torch.zeros(1, device='cuda')  # makes torch's context current
        self.cuda = ctypes.CDLL('libcuda.so.1')
        self.plan = ctypes.CDLL(str(plan))
        self.plan.plan_launch.restype = ctypes.c_char_p
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
        if entry in self.functions:
            return self.functions[entry]
        function = ctypes.c_void_p()
        for module in self.modules:
            if self.cuda.cuModuleGetFunction(ctypes.byref(function), module, entry) == 0:
                break
        else:
            raise MissingKernel(entry.decode())
        self._check(self.cuda.cuFuncSetAttribute(function, MAX_DYNAMIC_SHARED, shared_bytes), f'{entry.decode()}: shared memory')
        self.functions[entry] = function
        return function

    def _params(self, fields):
        params = ctypes.create_string_buffer(self.plan.params_bytes())
        for name, value in fields.items():
            size = ctypes.c_int()
            offset = self.plan.params_field(name.encode(), ctypes.byref(size))
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
        params = self._params(dict(fields, large_shared=large_shared))
        scratch_bytes = ctypes.c_longlong()
        self.plan.plan_call(params, source, int(high), int(gradient), None, ctypes.byref(scratch_bytes))
        scratch = torch.full((scratch_bytes.value // 4 + 1,), float('nan'), device='cuda')
        count = self.plan.plan_call(
            params, source, int(high), int(gradient), ctypes.c_void_p(scratch.data_ptr()), ctypes.byref(scratch_bytes))
        if count < 0:
            raise ValueError('no kernel for these sizes')
        launches = []
        for i in range(count):
            sizes = (ctypes.c_int * 3)()
            own = ctypes.create_string_buffer(self.plan.params_bytes())
            entry = self.plan.plan_launch(i, sizes, own)
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
