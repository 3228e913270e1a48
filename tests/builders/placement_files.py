# SPDX-License-Identifier: Apache-2.0
"""Configuration and inventory of a site whose miners stand in racks."""

SITE = """
[hub]
name = "hub"
[[sites]]
name = "site"
operator = "North Mining LLP"
zone = "Asia/Almaty"
import_cap_w = 4e6
inventory = "inventory.csv"
loads = [{ name = "p", kind = "pump", device = "c1", serves = { racks = ["r1"] } }]
cooling_loops = [{ name = "t", device = "c1", serves = { feeders = ["f1"] } }]
[[sites.feeders]]
name = "f1"
cap_w = 2e6
[[sites.feeders]]
name = "f2"
cap_w = 2e6
[[sites.containers]]
name = "c1"
profile = "bitdeer_d40"
topic = "c1"
"""


INVENTORY = """device,model,dialect,host,ports,feeder,rack,position,phase
m1,Whatsminer M50S,whatsminer,10.0.0.1,rpc=4028,f1,r1,1,0
m2,Whatsminer M50S,whatsminer,10.0.0.2,rpc=4028,f1,r1,2,
m3,Whatsminer M50S,whatsminer,10.0.1.1,rpc=4028,f2,r2,1,
"""
