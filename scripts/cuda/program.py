"""What the benchmarks have in common: their arguments, and cases that are measured, kept and printed one after the other."""
import argparse
import json
import os
import sys
import threading

import torch

from driver import Kernels, MissingKernel


def run(cases, describe, measure, header, line):
    """Measures the cases that are asked for. `measure(kernels, case, arguments)` is a result, `line(name, result, arguments)` is its text."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--code', required=True, help='folder of .bin files for this GPU')
    parser.add_argument('--plan', required=True, help='the library made of scripts/cuda/*.cc')
    parser.add_argument('--json', required=True)
    parser.add_argument('--only', default='', help="cases whose description contains these words; none of those behind a '-'")
    parser.add_argument('--kernels', action='store_true', help='print the times of each kernel, too')
    parser.add_argument('--limit', type=float, default=300, help='seconds: a kernel that hangs ends the program')
    arguments = parser.parse_args()
    report = {'device': torch.cuda.get_device_name(), 'torch': torch.__version__, 'cuda': torch.version.cuda, 'results': []}

    def save():
        with open(arguments.json, 'w') as file:
            json.dump(report, file, indent=1)

    def stop():
        report['stopped'] = 'time limit'
        save()
        print(f'{os.path.basename(sys.argv[0])}: time limit', flush=True)
        os._exit(1)

    timer = threading.Timer(arguments.limit, stop)
    timer.daemon = True
    timer.start()
    kernels = Kernels(arguments.code, arguments.plan)
    print(report['device'], flush=True)
    print(header, flush=True)
    for case in cases:
        name = describe(case)
        if not all(word[1:] not in name if word.startswith('-') else word in name for word in arguments.only.split()):
            continue
        try:
            result = measure(kernels, case, arguments)
        except (torch.cuda.OutOfMemoryError, MissingKernel) as error:
            result = dict(case, failure=f'{type(error).__name__}: {error}')
        except RuntimeError as error:
            # The GPU's context is lost after a failed kernel.
            report['results'].append(dict(case, failure=str(error)))
            save()
            raise
        report['results'].append(result)
        save()
        print(line(name, result, arguments), flush=True)
        torch.cuda.empty_cache()
    save()


def warnings(result):
    """What is wrong with the numbers of a result."""
    return ('' if result.get('finite', True) else ' NOT FINITE') + ('' if result.get('repeats', True) else ' NOT REPEATABLE')
