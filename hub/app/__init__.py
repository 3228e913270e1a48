# SPDX-License-Identifier: Apache-2.0
"""Programs: the live hub, the demonstration, the simulation, the replay, the web application."""
