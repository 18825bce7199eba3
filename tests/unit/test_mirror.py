"""tests/unit mirrors src/cloister, path for path."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "src" / "cloister"
UNIT: Final = ROOT / "tests" / "unit"

# Modules without a unit test of their own, each with its reason. A folder stands for all in it.
WITHOUT_TWIN: Final[dict[str, str]] = {
    "cli/demo/files": "a script without imports of ours; the demonstration runs it",
    "testing": "doubles and benches; the contract tests hold them to their protocols",
    "attestation/claims.py": "types only",
    "cleanroom/agreement.py": "cleanroom/test_terms.py and attack/test_cleanroom_terms.py",
    "cleanroom/cells.py": "processes: integration/cleanroom/test_training.py",
    "cleanroom/client.py": "driven by cleanroom/test_query_server.py",
    "cleanroom/draft.py": "driven by cleanroom/test_terms.py",
    "cleanroom/engine/engine.py": "integration/test_cleanroom_engine.py",
    "cleanroom/engine/forward.py": "integration/test_cleanroom_engine.py",
    "cleanroom/engine/on_jax.py": "integration/test_cleanroom_engine.py",
    "cleanroom/engine/on_tensorflow.py": "integration/test_cleanroom_engine.py",
    "cleanroom/engine/on_torch.py": "integration/test_cleanroom_engine.py",
    "cleanroom/governing.py": "cleanroom/test_room_files.py and attack/test_cleanroom_terms.py",
    "cleanroom/inside.py": "driven by cleanroom/test_questions.py",
    "cleanroom/plan.py": "driven by cleanroom/test_questions.py",
    "cleanroom/query.py": "processes: integration/cleanroom/test_query.py",
    "cleanroom/query_answers.py": "driven by cleanroom/test_query_parts.py",
    "cleanroom/query_signal.py": "driven by cleanroom/test_query_parts.py",
    "cleanroom/query_windows.py": "driven by cleanroom/test_query_parts.py",
    "cleanroom/recipe.py": "driven by cleanroom/test_room_files.py",
    "cleanroom/remarks.py": "driven by cleanroom/test_terms.py",
    "cleanroom/room_folder.py": "driven by cleanroom/test_room_files.py",
    "cleanroom/room_key.py": "driven by cleanroom/test_room_files.py",
    "cleanroom/room_policy.py": "cleanroom/test_terms.py and spec/test_cleanroom_terms.py",
    "cleanroom/standing.py": "attack/test_cleanroom_terms.py",
    "cleanroom/terms_schema.py": "cleanroom/test_terms.py and spec/test_cleanroom_terms.py",
    "cleanroom/terms_text.py": "cleanroom/test_terms.py and spec/test_cleanroom_terms.py",
    "cleanroom/yaml_text.py": "driven by cleanroom/test_terms.py",
    "cli/cleanroom_demo/asking.py": "processes: integration/cleanroom/test_demo.py",
    "cli/cleanroom_demo/attempts.py": "processes: integration/cleanroom/test_demo.py",
    "cli/cleanroom_demo/material.py": "processes: integration/cleanroom/test_demo.py",
    "cli/cleanroom_demo/people.py": "processes: integration/cleanroom/test_demo.py",
    "cli/cleanroom_draft.py": "docs/test_commands.py and integration/cleanroom/test_story.py",
    "confinement/cell.py": "processes: integration/confinement/test_cells.py and escape",
    "confinement/cell_cgroups.py": "groups of the machine: integration/confinement/test_cells.py",
    "confinement/cell_parent.py": "processes: integration/confinement/test_cells.py and escape",
    "confinement/steps.py": "driven by confinement/test_stage.py",
    "confinement/unswapped.py": "mounts: integration/confinement/test_sandbox.py",
    "cli/model.py": "a group of commands: cli/test_model_cut.py",
    "cli/model_shown.py": "driven by cli/test_model_cut.py",
    "crypto/mac.py": "driven by keyservice/test_anchoring.py",
    "keyservice/anchor_service.py": "driven by keyservice/test_anchoring.py",
    "keyservice/anchors.py": "keyservice/test_anchoring.py and contract/test_volume_anchor.py",
    "keyservice/authorities.py": "driven by keyservice/test_tenancy.py and attack/test_tenancy.py",
    "keyservice/budget_records.py": "types only; their bytes: keyservice/test_budgets.py",
    "keyservice/clock.py": "the edge: reads two clocks",
    "keyservice/embedded.py": "processes: integration/test_keyservice_process.py",
    "keyservice/exchange.py": "driven by keyservice/test_client.py",
    "keyservice/founding.py": "driven by keyservice/test_domain.py",
    "keyservice/member_records.py": "types only",
    "keyservice/owner.py": "driven by keyservice/test_client.py and test_administration.py",
    "keyservice/owner_replies.py": "driven by keyservice/test_client.py and test_administration.py",
    "keyservice/owner_secrets.py": "keyservice/test_secret_operations.py, test_owner_call.py",
    "keyservice/owner_views.py": "driven by keyservice/test_view_operations.py",
    "keyservice/pinned.py": "types only",
    "keyservice/platform_records.py": "types only; their bytes: state/test_platform_rows.py",
    "keyservice/policy/budget_rules.py": "types only; keyservice/policy/test_budgets.py reads them",
    "keyservice/policy/kinds.py": "driven by keyservice/policy/test_schema.py",
    "keyservice/records.py": "types only; their bytes are driven by keyservice/test_store.py",
    "keyservice/scope.py": "driven by keyservice/test_tenancy.py and attack/test_tenancy.py",
    "keyservice/secret_records.py": "types only; their bytes: keyservice/test_secret_store.py",
    "keyservice/source_records.py": "types only; their bytes: test_source_operations.py",
    "keyservice/source_store.py": "driven by keyservice/test_source_operations.py",
    "keyservice/view_grants.py": "driven by keyservice/test_view_operations.py",
    "keyservice/state/view_rows.py": "driven by keyservice/test_view_operations.py",
    "keyservice/view/issued.py": "vectors: spec/test_keyservice_vectors.py; view/test_access.py",
    "keyservice/view/schemas.py": "driven by keyservice/view/test_openapi.py",
    "keyservice/state/backend.py": "a protocol: contract/test_state_backend.py",
    "keyservice/state/budget_rows.py": "driven by keyservice/test_budgets.py",
    "keyservice/state/journal.py": "driven by keyservice/test_store.py",
    "keyservice/state/reader.py": "driven by keyservice/test_store.py and test_rekeying.py",
    "keyservice/state/rows.py": "driven by keyservice/test_store.py",
    "keyservice/state/tenancy.py": "driven by keyservice/test_tenancy.py",
    "keyservice/tenancy_records.py": "types only; their bytes: state/test_tenancy_rows.py",
    "keyservice/state/secret_rows.py": "driven by keyservice/test_secret_store.py",
    "keyservice/state/source_rows.py": "driven by keyservice/test_source_operations.py",
    "keyservice/state/sqlcipher.py": "contract/test_state_backend.py and keyservice/test_store.py",
    "launcher/run.py": "processes: integration/launcher/test_run.py",
    "network/accepting.py": "driven by network/test_relay.py and attack/test_network_shield.py",
    "network/carrying.py": "driven by network/test_relay.py",
    "network/frames.py": "property/test_relay_frames.py and vectors: spec/test_relay.py",
    "network/opening.py": "driven by network/test_relay.py",
    "network/records.py": "driven by network/test_relay.py and attack/test_network_shield.py",
    "partition/litert_operators.py": "a table; partition/test_litert_file.py reads by it",
    "partition/keras_source.py": "TensorFlow: integration/test_partition_keras.py",
    "partition/assess/attack.py": "types only; attack/test_cut_leakage.py",
    "partition/assess/bounds.py": "TensorFlow: attack/test_cut_leakage.py",
    "partition/assess/clock.py": "the edge: reads a clock",
    "partition/assess/decoder_network.py": "TensorFlow: attack/test_cut_leakage.py",
    "partition/assess/decorrelation.py": "TensorFlow: integration/test_assessment.py",
    "partition/assess/defences.py": "TensorFlow: integration/test_assessment.py",
    "partition/assess/frameworks.py": "TensorFlow: attack/test_cut_leakage.py",
    "partition/assess/fresh.py": "TensorFlow: integration/test_assessment.py",
    "partition/assess/gradients.py": "TensorFlow: attack/test_cut_leakage.py",
    "partition/assess/optimisation.py": "TensorFlow: attack/test_cut_leakage.py",
    "partition/assess/representation.py": "TensorFlow: attack/test_cut_leakage.py",
    "partition/assess/scale.py": "driven by partition/assess/test_run.py",
    "partition/assess/showing.py": "attack/test_cut_leakage.py",
    "partition/assess/surrogate.py": "TensorFlow: attack/test_cut_leakage.py",
    "partition/assess/synthesis.py": "TensorFlow: integration/test_assessment.py",
    "tee/places.py": "types only",
    "tee/sim/fields.py": "a table; tee/test_registry.py loads it",
    "training/job_claims.py": "vectors: spec/test_job_receipt.py",
    "training/job_receipt.py": "vectors: spec/test_job_receipt.py",
    "training/federated/link.py": "processes: integration/test_federation.py",
    "training/federated/logs.py": "one handler; integration/test_federation.py reads its lines",
    "training/federated/node.py": "processes: integration/test_federation.py",
    "training/federated/superlink.py": "integration/test_superlink.py",
    "training/federated/task.py": "processes: integration/test_federation.py",
    "training/privacy/callbacks.py": "TensorFlow: integration/test_private_training.py",
    "training/privacy/checks.py": "TensorFlow: integration/test_private_training.py",
    "training/privacy/clipping.py": "TensorFlow: integration/test_private_training.py",
    "training/privacy/frameworks.py": "TensorFlow: integration/test_private_training.py",
    "training/privacy/gradients.py": "TensorFlow: integration/test_private_training.py",
    "training/privacy/model.py": "TensorFlow: integration/test_private_training.py",
    "partition/leakage.py": "types and words; their reader: partition/test_report.py",
    "partition/plan_facts.py": "types only; their reader: partition/test_plan.py",
    "partition/report_fields.py": "driven by partition/test_report.py",
    "training/privacy/noise.py": "TensorFlow: integration/test_private_training.py",
    "training/privacy/sampling.py": "TensorFlow: integration/test_private_training.py",
    "volume/anchor.py": "a protocol: contract/test_volume_anchor.py",
    "volume/anchor_file.py": "contract/test_volume_anchor.py",
    "volume/filesystem.py": "a protocol: contract/test_filesystem.py",
    "volume/content": "driven by volume/test_tree.py and property/test_volume_model.py",
    "volume/format.py": "spec/test_volume_vectors.py and fuzz/test_volume_fuzz.py",
    "volume/index.py": "spec/test_volume_vectors.py and fuzz/test_volume_fuzz.py",
    "volume/journal.py": "spec/test_volume_vectors.py and attack/test_volume_rollback.py",
    "volume/opening.py": "driven by volume/test_seal.py and attack/test_volume_rollback.py",
    "volume/reader.py": "driven by volume/test_seal.py and attack/test_volume_tampering.py",
    "volume/recovery.py": "attack/test_volume_rollback.py and property/test_volume_crash.py",
    "volume/store.py": "property/test_volume_crash.py and integration/test_volume_kills.py",
}
# Unit tests that mirror no module, each with its reason.
WITHOUT_SOURCE: Final[dict[str, str]] = {
    "test_mirror.py": "this file",
    "cleanroom/test_query_parts.py": "three small modules of a query enclave, each a section",
    "cleanroom/test_room_files.py": "recipe, key and folder of a room together",
    "keyservice/policy/test_cells.py": "one word of a policy, through all of its readers",
}


def _tested(name: str) -> bool:
    return name.endswith(".py") and (UNIT / Path(name).parent / f"test_{Path(name).name}").exists()


def _excused(path: Path, reasons: dict[str, str]) -> bool:
    return any(str(each) in reasons for each in (path, *path.parents))


def test_every_module_has_its_unit_test() -> None:
    """For `src/cloister/a/b.py` there is `tests/unit/a/test_b.py`, or a written reason."""
    modules = [path.relative_to(SOURCE) for path in SOURCE.rglob("*.py")]
    missing = sorted(
        str(path)
        for path in modules
        if path.name != "__init__.py"
        and not _excused(path, WITHOUT_TWIN)
        and not (UNIT / path.parent / f"test_{path.name}").exists()
    )
    assert missing == []


def test_every_unit_test_has_its_module() -> None:
    """For `tests/unit/a/test_b.py` there is `src/cloister/a/b.py`, or a written reason."""
    tests = [path.relative_to(UNIT) for path in UNIT.rglob("test_*.py")]
    orphans = sorted(
        str(path)
        for path in tests
        if not _excused(path, WITHOUT_SOURCE)
        and not (SOURCE / path.parent / path.name.removeprefix("test_")).exists()
    )
    assert orphans == []


def test_reasons_are_still_needed() -> None:
    """A reason whose module is gone, or has its test by now, is taken from the list above."""
    stale = [name for name in WITHOUT_TWIN if not (SOURCE / name).exists() or _tested(name)]
    assert not stale, f"remove from WITHOUT_TWIN: {stale}"
