# SPDX-License-Identifier: Apache-2.0
"""Fleet work outside the control loop: jobs, condition monitoring, wake recovery, positions, firmware, identification."""
