"""Run a script as if typed in a folder, and keep the figures that it leaves open.

    python run_in.py FOLDER FIGURES SCRIPT [ARGUMENT...]

For scripts that read and write relative to where they are started, or that only show their plots.
"""

import os
import runpy
import sys
from pathlib import Path

_, folder, figures, script, *_ = sys.argv
figures = Path(figures).resolve()
sys.argv = sys.argv[3:]
os.chdir(folder)
runpy.run_path(script, run_name="__main__")
if "matplotlib.pyplot" in sys.modules:
    plt = sys.modules["matplotlib.pyplot"]
    for number in plt.get_fignums():
        plt.figure(number).savefig(figures / f"figure-{number}.png")
