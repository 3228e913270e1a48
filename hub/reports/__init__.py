# SPDX-License-Identifier: Apache-2.0
"""What regulators and the treasury pull: one file a report, built from journal and ledger alone."""
