"""Prints the results of bench.py and bench_chunks.py as Markdown: python3 scripts/cuda/table.py FILE.json... > TABLE.md"""
import json
import sys


def name(case):
    words = [case['operator'].replace('_', ' ')]
    keys = case.get('keys', case.get('length'))
    if 'divided' in case:
        how = 'keys divided among blocks' if case['divided'] else 'one block per 64 rows'
        return f"{words[0]}, {case['heads']} x {case['queries']} queries x {keys} keys x {case['dim']}, {how}"
    if case.get('step'):
        return f"{words[0]}, step of {case['tokens']}, {case['heads']} heads x {case['length']} keys x {case['dim']}"
    if case.get('direct') not in (None, 'conjugateGradient'):
        words.append(case['direct'])
    words += ['gradient'] if case.get('gradient') else []
    sizes = [case['heads'], case['queries']] + ([case['keys']] if case['keys'] != case['queries'] else []) + [case['dim']]
    words += [' x '.join(map(str, sizes)), 'causal' if case['causal'] else 'full']
    if case['operator'] in ('mesa', 'local_linear') and 'ridge' in case:
        words.append(f"ridge {case['ridge']}")
    if case['operator'] == 'local_linear':
        words.append(f"tolerance {case.get('tolerance', 1e-6):g}")
    if case.get('spectrum'):
        words.append(f"keys with spectrum i^-{case['spectrum']}, mean {case['mean']}")
    return ', '.join(words)


def row(case):
    cells = [name(case), case.get('precision', 'high')]
    if 'failure' in case:
        return cells + [case['failure'], '', '', '', '']
    cells.append(f"{case['error']:.1e}" if 'error' in case else '')
    cells.append(f"{case['ms']:.3f}" if 'ms' in case else '')
    cells.append(f"{case['ratio']:.2f}" if 'ratio' in case else '')
    cells.append(f"{case['ratio_to_gradient']:.2f}" if 'ratio_to_gradient' in case else '')
    cells.append(' / '.join(f'{x:.1f}' for x in case['iterations']) if 'iterations' in case else '')
    return cells


def main():
    for file in sys.argv[1:]:
        with open(file) as opened:
            report = json.load(opened)
        print(f"{report['device']}, torch {report['torch']}, CUDA {report['cuda']}")
        print(', '.join(str(report[key]) for key in ('driver', 'date', 'command') if key in report), end='\n\n')
        head = ['case', 'precision', 'error', 'ms', 'x SDPA', "x SDPA's gradient", 'iterations, mean / most']
        print('| ' + ' | '.join(head) + ' |')
        print('|' + '---|' * len(head))
        results = report['results'] + report.get('chunks', [])
        for case in results:
            if case.get('timed', True):
                print('| ' + ' | '.join(row(case)) + ' |')
        checked = [case for case in results if not case.get('timed', True)]
        wrong = [case for case in checked if 'failure' in case or not case.get('finite', True)]
        print(f'\nSmall and odd sizes, not timed: {len(checked)} cases, {len(wrong)} failed, '
              f"largest error {max((case.get('error', 0) for case in checked), default=0):.1e}.\n")


if __name__ == '__main__':
    main()
