"""What Flower does for hospitals, over the real shield: four attested runs each, and what came out.

In one process, without a network, the same is tried with more sites and every strategy by
`test_hospitals` and `test_poisoned_site`. What training computes there is what it must compute
here, to the last digits where nothing is drawn by chance.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

pytest.importorskip("flwr")
pytest.importorskip("sklearn")

from cloister.testing.federation import importing, run_locally
from integration.cli.desk import Desk
from integration.distributed.starting import desk_with_domain, require_nftables, running
from integration.test_hospitals import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.jobs,
    pytest.mark.fuse,
    pytest.mark.frameworks("flwr", "sklearn"),
    pytest.mark.filterwarnings("default"),
    pytest.mark.timeout(400),
]

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "hospitals"
SITES: Final = 3
DEADLINE_S: Final = 240
# Of a fixed-point number of SecAgg+ before it is masked, and after: what Flower takes if not told.
QUANTISED: Final = 1 << 22
MASKED: Final = 1 << 32

Model = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Hospitals:
    """A trust domain, and folders of patients."""

    desk: Desk
    data: Path

    def sealed(self, kind: str) -> list[Path]:
        """Return where the patients of each hospital lie."""
        return [self.data / kind / f"hospital-{number}" for number in range(SITES)]

    def train(self, name: str, app: Path, kind: str, settings: dict[str, Any]) -> Path:
        """Train under the shield; return the folder that was the model's volume.

        Args:
            name: Of the policy, and no other's.
            app: The Flower app.
            kind: Whose patients.
            settings: Of the app, at the link as at the sites.
        """
        desk = self.desk
        stores = []
        for number, folder in enumerate(self.sealed(kind)):
            stores.append(f"sealed/{name}-{number}")
            desk.run("volume", "seal", folder, stores[-1]).good()
        desk.run("volume", "create", f"sealed/{name}").good()
        more = " ".join(f"--set {key}={value}" for key, value in settings.items())
        part = f"python -m cloister.training.federated.{{}} --sites {SITES} {more}"
        desk.run(
            "policy", "draft", "--name", name, "--code", app, "--output", f"{name}.yaml",
            "--workload", "link", "--instances", "link:1",
            "--volume", f"link:/model=sealed/{name}:write",
            "--command", f"link:{part.format('link')} --result /model/final",
            "--workload", "site", "--instances", f"site:{SITES}", "--connect", "site=link:9092",
            "--shards", f"site:/data={','.join(stores)}:read",
            "--command", f"site:{part.format('site')}",
        ).good()  # fmt: skip
        desk.run("policy", "apply", f"{name}.yaml").good()
        words = ("cluster", "run", f"{name}.yaml", "--code", str(app))
        with running(desk, name, [*words, "--deadline", str(DEADLINE_S)]) as job:
            job.ends_well(timeout_s=DEADLINE_S + 60)
            assert "training is complete: sites 0, 1, 2" in job.text
        desk.run("volume", "open", f"sealed/{name}", f"opened/{name}").good()
        return desk.folder / "opened" / name / "final"

    def trained_here(self, folder: Path, kind: str, settings: dict[str, Any]) -> Model:
        """Train the same in this process, without a network; return the model."""
        folder.mkdir()
        nodes = [{"data": str(each)} for each in self.sealed(kind)]
        run_locally(EXAMPLE / "tabular", nodes, settings=settings, folder=folder, altered={})
        return model_in(folder)

    def accuracy(self, model: Model) -> float:
        """Return how often it is right about patients whom no hospital had."""
        rows = np.loadtxt(self.data / "test" / "patients.csv", delimiter=",")
        with importing(EXAMPLE / "tabular"):
            from hospital import task  # noqa: PLC0415  # the app's
        inputs = (rows[:, :-1] - task.CENTRE) / task.SPREAD
        return float(task.accuracy([model[:-1], model[-1:]], inputs, rows[:, -1]))


def model_in(folder: Path) -> Model:
    """Return weights and bias as one vector."""
    with np.load(folder / "model.npz", allow_pickle=False) as arrays:
        return np.concatenate([arrays["weights"], arrays["bias"]])


def spread(found: Model, wanted: Model) -> float:
    """Return the root of the mean squared difference."""
    return float(np.sqrt(np.mean((found - wanted) ** 2)))


def write_poisoned(folder: Path) -> None:
    """Give all hospitals the like of patients; the last lies about its own, and loudly.

    The site runs the approved program, so its poison is its data: what it measures is turned to
    the other side and made forty times as much.
    """
    with importing(EXAMPLE / "tabular"):
        from hospital import task  # noqa: PLC0415  # the app's
    tables = [
        np.loadtxt(folder / "tabular" / f"hospital-{n}" / "patients.csv", delimiter=",")
        for n in range(SITES)
    ]
    rows = np.random.default_rng(4).permutation(np.concatenate(tables))
    for number, table in enumerate(np.array_split(rows, SITES)):
        if number == SITES - 1:
            table[:, :-1] = task.CENTRE - 40 * (table[:, :-1] - task.CENTRE)
        place = folder / "poisoned" / f"hospital-{number}"
        place.mkdir(parents=True)
        np.savetxt(place / "patients.csv", table, delimiter=",")


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospitals]:
    """One trust domain for all that is trained here."""
    require_nftables()
    folder = tmp_path_factory.mktemp("hospitals")
    prepare = load("prepare")
    prepare.tabular(folder / "data", np.random.default_rng(1))
    write_poisoned(folder / "data")
    for app in ("tabular", "secure"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(EXAMPLE / app, folder / "apps" / app, ignore=ignored)
    with desk_with_domain(folder) as desk:
        yield Hospitals(desk, folder / "data")


@pytest.fixture(autouse=True)
def _no_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apps are imported from the example's folders, which stay as they are."""
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # a flag of Python's


def app_in(hospitals: Hospitals, name: str) -> Path:
    """Return the copy of an example's app."""
    return hospitals.desk.folder / "apps" / name


def test_fedprox_learns(hospitals: Hospitals, tmp_path: Path) -> None:
    """The pull back to the link's model crosses the shield, and so does what was learned."""
    settings = {"strategy": "fedprox", "proximal-mu": 0.5, "num-server-rounds": 2,
                "fraction-evaluate": 0.0}  # fmt: skip
    found = model_in(hospitals.train("prox", app_in(hospitals, "tabular"), "tabular", settings))
    np.testing.assert_allclose(
        found, hospitals.trained_here(tmp_path / "same", "tabular", settings), rtol=1e-9
    )
    without = settings | {"strategy": "fedavg"}
    free = hospitals.trained_here(tmp_path / "free", "tabular", without)
    assert np.linalg.norm(found) < 0.9 * np.linalg.norm(free)
    assert hospitals.accuracy(found) > 0.9


@pytest.mark.parametrize(("strategy", "bears"), [("fedavg", False), ("fedmedian", True)])
def test_a_poisoned_site_does_not_win(
    hospitals: Hospitals, tmp_path: Path, strategy: str, *, bears: bool
) -> None:
    """One of three, in every round; the average is ruined by it, the median is not."""
    settings = {"strategy": strategy, "num-server-rounds": 2, "fraction-evaluate": 0.0}
    name = f"poisoned-{strategy}"
    found = model_in(hospitals.train(name, app_in(hospitals, "tabular"), "poisoned", settings))
    np.testing.assert_allclose(
        found, hospitals.trained_here(tmp_path / "same", "poisoned", settings), rtol=1e-9
    )
    assert (hospitals.accuracy(found) > 0.9) == bears
    assert (hospitals.accuracy(found) < 0.6) != bears


@pytest.mark.parametrize("where", ["central", "local"])
def test_noise_and_clipping_are_in_effect(hospitals: Hospitals, tmp_path: Path, where: str) -> None:
    """What comes out is the clipped update, with noise of the size that the settings say."""
    clipping, multiplier, epsilon, delta = 0.5, 0.3, 50.0, 1e-5
    settings = {"privacy": where, "clipping": clipping, "noise": multiplier, "epsilon": epsilon,
                "num-server-rounds": 1, "fraction-evaluate": 0.0}  # fmt: skip
    found = model_in(hospitals.train(where, app_in(hospitals, "tabular"), "tabular", settings))
    quiet = settings | {"noise": 0.0, "epsilon": 1e15}
    clipped = hospitals.trained_here(tmp_path / "clipped", "tabular", quiet)
    free = hospitals.trained_here(tmp_path / "free", "tabular", settings | {"privacy": "none"})
    # The model began at nothing, so that it is the update; three of at most the norm average to it.
    assert np.linalg.norm(clipped) < clipping + 1e-6
    assert np.linalg.norm(free) > 2 * clipping
    shares = np.array([len(site_rows(each)) for each in hospitals.sealed("tabular")], dtype=float)
    shares /= shares.sum()
    noise = {
        "central": multiplier * clipping / SITES,
        "local": np.sqrt(np.sum(shares**2))
        * clipping
        * np.sqrt(2 * np.log(1.25 / delta))
        / epsilon,
    }[where]
    # Of 31 samples: outside of this once in some millions of runs.
    assert 0.4 * noise < spread(found, clipped) < 1.7 * noise
    assert spread(found, free) > 1.7 * noise


def site_rows(folder: Path) -> Model:
    """Return the patients that a hospital trains with: four of five."""
    rows = np.loadtxt(folder / "patients.csv", delimiter=",")
    return rows[np.arange(len(rows)) % 5 != 4]


# What stands between Flower's workflow and its grid in the test's copy of the app: it keeps what
# the link was sent, and changes nothing.
WATCHED: Final = '''

class Watched:
    """Flower's grid, which keeps the masked vectors that came."""

    def __init__(self, grid):
        self._grid = grid

    def __getattr__(self, name):
        return getattr(self._grid, name)

    def send_and_receive(self, messages, **more):
        answers = list(self._grid.send_and_receive(messages, **more))
        for answer in answers:
            for record in answer.content.config_records.values():
                if Key.MASKED_PARAMETERS in record:
                    arrays = [
                        np.load(io.BytesIO(part), allow_pickle=False).ravel()
                        for part in record[Key.MASKED_PARAMETERS]
                    ]
                    np.save(f"masked-{answer.metadata.src_node_id}.npy", np.concatenate(arrays))
        return answers
'''


def watched_app(hospitals: Hospitals) -> Path:
    """Have the link of the example for secure aggregation keep what it was sent."""
    app = app_in(hospitals, "secure")
    server = app / "hospital" / "server_app.py"
    text = server.read_text("utf-8")
    imports = (
        "import io\n\nimport numpy as np\n"
        "from flwr.common.secure_aggregation.secaggplus_constants import Key\n"
    )
    begins, runs = "import numpy as np\n", "(grid, legacy)\n"
    assert (text.count(begins), text.count(runs), text.count("app = ServerApp()\n")) == (1, 1, 1)
    text = text.replace(begins, imports).replace(runs, "(Watched(grid), legacy)\n")
    server.write_text(text.replace("app = ServerApp()\n", f"app = ServerApp()\n{WATCHED}"), "utf-8")
    return app


def test_the_link_adds_up_what_it_cannot_read(hospitals: Hospitals, tmp_path: Path) -> None:
    """SecAgg+ with three sites: what each sends is masked, and the sum is the plain average."""
    result = hospitals.train("secure", watched_app(hospitals), "tabular", {"num-server-rounds": 1})
    masked = [np.load(file, allow_pickle=False) for file in sorted(result.glob("masked-*.npy"))]
    assert len(masked) == SITES
    for vector in masked:
        # Unmasked, each number would be below a thousandth of what it may be now.
        assert len(vector) == 32  # a factor, thirty weights and a bias
        assert np.all((vector >= 0) & (vector < MASKED))
        assert np.mean(vector > QUANTISED) > 0.9
    plain = {"num-server-rounds": 1, "fraction-evaluate": 0.0}
    average = hospitals.trained_here(tmp_path / "plain", "tabular", plain)
    assert np.linalg.norm(average) > 0.5
    np.testing.assert_allclose(model_in(result), average, atol=0.01)
