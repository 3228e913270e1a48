# SPDX-License-Identifier: Apache-2.0
"""Input and output of grid: files and MQTT, one module each, imported only by the wiring."""
