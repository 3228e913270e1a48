# SPDX-License-Identifier: Apache-2.0
"""Protocols and payloads as pure functions: frames, topics, Sparkplug B, SunSpec, Home Assistant, Prometheus."""
