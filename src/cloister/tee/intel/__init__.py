"""What SGX and TDX share: quotes, PCK certificates, collateral, and how Intel's TCB is judged.

Nothing here is a root of trust of its own; `tee/sgx` and `tee/tdx` are. No code of Intel's is used.

Spec: intel-evidence-v1.
"""
