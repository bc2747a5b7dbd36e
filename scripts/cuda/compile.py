"""Compiles every kernels/**/cuda/*.cu with NVRTC to machine code, prints registers and spills of each kernel, fails on warnings.

    python3 -m venv .cuda/venv
    .cuda/venv/bin/pip install nvidia-cuda-nvrtc-cu12==12.9.86 nvidia-cuda-runtime-cu12==12.9.79 nvidia-cuda-nvcc-cu12==12.9.86
    .cuda/venv/bin/python scripts/cuda/compile.py --arch sm_80 --arch sm_90 --out .cuda/code

No CUDA toolkit, no compiler of the host and no GPU are needed.
"""
import argparse
import ctypes
import re
import site
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Nvrtc:
    """The compiler library of the pip package, found beside this Python."""

    def __init__(self):
        folders = [Path(folder) / 'nvidia' for folder in site.getsitepackages()]
        libraries = [library for folder in folders for library in folder.glob('cuda_nvrtc/lib/libnvrtc.so.12')]
        if not libraries:
            raise SystemExit(f'compile.py: no nvidia/cuda_nvrtc/lib/libnvrtc.so.12 in {folders}: see the top of this file')
        self.library = ctypes.CDLL(str(libraries[0]))
        nvidia = libraries[0].parents[2]
        self.includes = [nvidia / 'cuda_runtime' / 'include', nvidia / 'cuda_nvcc' / 'include', ROOT / 'kernels']

    def _text(self, program, what):
        size = ctypes.c_size_t()
        getattr(self.library, f'nvrtcGet{what}Size')(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self.library, f'nvrtcGet{what}')(program, buffer)
        return buffer.raw

    def compile(self, source, architecture):
        """Returns (machine code or None, log)."""
        program = ctypes.c_void_p()
        self.library.nvrtcCreateProgram(
            ctypes.byref(program), source.read_bytes(), str(source).encode(), 0, None, None)
        options = [f'--gpu-architecture={architecture}', '--std=c++17', '-default-device', '--ptxas-options=-v']
        options += [f'-I{folder}' for folder in self.includes]
        array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        status = self.library.nvrtcCompileProgram(program, len(options), array)
        log = self._text(program, 'ProgramLog').rstrip(b'\0').decode()
        code = self._text(program, 'CUBIN') if status == 0 else None
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        return code, log


def resources(log):
    """Yields (kernel, registers, spilled bytes) from what ptxas says."""
    kernel, spilled = None, 0
    for line in log.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            kernel = match[1]
        elif match := re.search(r'(\d+) bytes spill stores, (\d+) bytes spill loads', line):
            spilled = max(int(match[1]), int(match[2]))
        elif match := re.search(r'Used (\d+) registers', line):
            yield kernel, int(match[1]), spilled


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--arch', action='append', help='sm_80, sm_90, ...; default: both')
    parser.add_argument('--out', type=Path, default=ROOT / '.cuda' / 'code')
    parser.add_argument('--only', default='', help='a part of the path of the sources to compile')
    arguments = parser.parse_args()
    compiler = Nvrtc()
    failed = False
    for architecture in arguments.arch or ['sm_80', 'sm_90']:
        for source in sorted((ROOT / 'kernels').glob('**/cuda/*.cu')):
            if arguments.only not in str(source):
                continue
            start = time.time()
            code, log = compiler.compile(source, architecture)
            print(f'{architecture} {source.relative_to(ROOT)}: {time.time() - start:.1f} s')
            # What ptxas reports for each kernel is no warning.
            others = [line for line in log.splitlines() if not re.search(r'ptxas info|bytes stack frame|^\s*$', line)]
            if others:
                print('\n'.join(others))
                failed = True
            for kernel, registers, spilled in resources(log):
                print(f'  {kernel:48} {registers:4} registers {spilled:6} bytes spilled')
            if code:
                target = arguments.out / architecture / f'{source.stem}.cubin'
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(code)
            sys.stdout.flush()
    raise SystemExit(1 if failed else 0)


if __name__ == '__main__':
    main()
