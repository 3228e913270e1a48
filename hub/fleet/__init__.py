# SPDX-License-Identifier: Apache-2.0
"""Work on the fleet beside the control loop: jobs, condition, recovery, positions, firmware, identification."""
