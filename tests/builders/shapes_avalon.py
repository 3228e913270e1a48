# SPDX-License-Identifier: Apache-2.0
"""Answers in the shapes of real firmware, each with what is read from it."""

from typing import Any

from kernel.reading import Absence
from tests.miner_control.dialect import fixtures
from tests.miner_control.dialect.play import Play

TH = 1e12


WORK = "NETFAIL[0 0 0 0] SYSTEMSTATU[Work: In Work, Hash Board: {boards} ] Elapsed[7000]BOOTBY[0x04.00000000] "


A741 = ("Ver[7411706-3162860] DNA[0130b14a] Elapsed[{up}] MW[1 2] HW[0] DH[0.000%] Temp[{temp}] TMax[89] Fan[{fan}] FanR[36%] "
        "Vi[1215 1216] Vo[4074 4069] GHSmm[6836.48] WU[75407.22] Freq[606.93] PG[15] Led[0] TA[88] ECHU[16 0 512 528] ECMM[0] "
        "CRC[0 0] PVT_T[21-80/14-88/84 0-81/11-89/86]")  # fmt: skip


A1047 = ("Ver[1047-19120401_d46bc64_0367a8b] DNA[0201000017cd] MEMFREE[2601024 B] " + WORK.format(boards=2) + "HW[135] Temp[28] "
         "TMax[75] TAvg[64] Fan1[2984] Fan2[2972] FanR[47%] Vo[328] PS[0 1212 {supply} 1320] GHSmm[37768.67] GHSavg[37235.34] "
         "Freq[666.82] MGHS[18727.58 18507.76] MTmax[75 70] TA[240] ECHU[512 512] ECMM[0] FACOPTS0[] WORKMODE[1]")  # fmt: skip


A1126 = ("Ver[1126Pro-S-64-21072803_4ec6bb0_211fc46] DNA[0201000074a3] NETFAIL[206 216] SYSTEMSTATU[Work: In Work, Hash Board: 2 "
         "] Elapsed[7031] HW[106] Temp[29] TMax[83] Fan1[6439] Fan2[6358] Fan3[6334] Fan4[0] FanR[88%] PS[0 1220 1339 239 3200 "
         "1340 3522] GHSspd[66559.56] GHSmm[73691.12] GHSavg[65410.21] Freq[661.74] MGHS[31633.72 33776.49] MTmax[83 80] TA[240] "
         "SoftOFF[0] ECHU[0 0] ECMM[4]")  # fmt: skip


A1346 = ("Ver[1346-110-24041001_08b0955_0196aba] Elapsed[370] SYSTEMSTATU[Work: {work}, Hash Board: 3 ] SoftOFF[{off}] "
         "GHSspd[{now}] GHSavg[109000.5] PS[{supply}] Temp[25] TMax[85]")  # fmt: skip


NANO = ("Ver[Nano3s-25021401_56abae7] LVer[25021401_56abae7] FW[Release] LED[0-0] DNA[02010000bd44] SYSTEMSTATU[Work: In Work, "
        "Hash Board: 1] Elapsed[10027] HW[0] ITemp[-273] OTemp[65] TMax[95] TAvg[90] TarT[90] Fan1[1520] FanR[33%] PS[0 0 27541 "
        "4 0 3756 133] GHSspd[6598.84] GHSmm[6783.65] GHSavg[6695.18] Freq[464.89] MGHS[6695.18] MTmax[95] TA[12] SoftOFF[0] "
        "ECHU[0] ECMM[0] WORKMODE[2] WORKLEVEL[0] MPO[133]")  # fmt: skip


Q_PARTS = "Ver[Q-25052801_14a19a2] LVer[25052801_14a19a2] DNA[<DELETED>] SYSTEMSTATU[Work: {work}, Hash Board: 1] Elapsed[18603] "


Q_REST = ("ITemp[24] HBITemp[32] HBOTemp[38] TMax[{hot}] TarT[65] Fan1[{fan}] Fan2[{fan}] FanR[0%] FanErr[0] PS[{supply}] "
          "PCOMM_E[0] GHSspd[{now}] GHSmm[56112.38] GHSavg[70967.01] MGHS[70967.01] TA[160] SoftOFF[{off}] ECHU[0] ECMM[0] "
          "WORKMODE[0] MPO[800]")  # fmt: skip


HASHES = {
    "Elapsed": 6980,
    "MHS av": 36550242.2,
    "MHS 30s": 34751312.1,
    "MHS 1m": 35107900.6,
    "Accepted": 14331,
    "Rejected": 280,
}


def reported(*entries: dict[str, Any], summary: dict[str, Any] | None = None, **version: Any) -> Play:
    """Answers to `stats`; `estats` is not known."""
    table = {
        "stats": {"STATUS": fixtures.status(70, "told"), "STATS": list(entries), "id": 1},
        "summary": {
            "STATUS": fixtures.status(11, "Summary"),
            "SUMMARY": [HASHES if summary is None else summary],
            "id": 1,
        },
        "pools": fixtures.antminer()["pools"],
        "version": {"STATUS": fixtures.status(22, "v"), "VERSION": [version], "id": 1} if version else b"",
    }
    return Play("avalon", table, joins=False)


def plain(**sections: str) -> Play:
    """The same in the text form."""
    return Play("avalon", {command: text.encode() for command, text in sections.items()}, joins=False)


ASLEEP_PS = "0 1197 0 0 0 1393 11"


SHAPES: dict[str, tuple[Play, dict[str, Any]]] = {
    "A741: two controllers of two modules, and figures in the summary only": (
        reported({"ID": "AV70", "MM ID1": A741.format(up=126, temp=38, fan=2550),
                  "MM ID2": A741.format(up=91, temp=43, fan=1440)},
             {"ID": "AV71", "MM ID1": A741.format(up=91, temp=40, fan=4440)}, {"STATS": 2, "ID": "POOL0", "Elapsed": 118}),
        {"hashrate_hs": 34.7513121 * TH, "hashrate_window_s": 30, "hashrate_nominal_hs": 20.50944 * TH, "chips_expected": 264,
         "fan_min_rpm": 1440, "fan_max_rpm": 4440, "temp_inlet_c": 43, "temp_chip_max_c": 89, "error_text": "", "model": "741",
         "hw_errors": 0, "serial": Absence.NOT_REPORTED, "power_w": Absence.NOT_REPORTED, "state": "hashing",
         "mode": Absence.NOT_REPORTED},
    ),
    "A1047 with the warnings of every A10": (
        reported({"ID": "AVA100", "MM ID0": A1047.format(supply="1315 174 2288")}, PROD="AvalonMiner 10xx", MAC="aaa5836a0f14"),
        {"hashrate_hs": 34.7513121 * TH, "power_w": 2288, "power_source": "psu_output", "error_text": "", "uptime_s": 7000,
         "mode": "high", "boards_hashing": 2, "mac": "aa:a5:83:6a:0f:14", "model": "AvalonMiner 10xx", "voltage_v": 13.15},
    ),
    "A1047 without power on its boards": (
        reported({"MM ID0": A1047.format(supply="0 0 0")}, summary=HASHES | {"MHS 30s": 0.0}),
        {"state": "stopped", "power_w": 0, "boards_hashing": 0, "hw_errors": 135},
    ),
    "A1126 Pro in text, a fan lost and its supply's seven figures": (
        plain(stats=f"STATUS=S,When=1,Code=70,Msg=CGMiner stats|STATS=0,ID=AVA100,Elapsed=6979,MM ID0={A1126},MM Count=1|\x00",
              summary="STATUS=S,When=1,Code=11,Msg=Summary|SUMMARY,Elapsed=6979,MHS av=65000000.0,Accepted=33,Rejected=1|",
              pools="STATUS=S,Code=7|POOL=0,URL=stratum+tcp://a.example:1,Status=Alive,User=w.1,Stratum Active=true,Accepted=33|",
              version="STATUS=S,When=1,Code=22|VERSION,CGMiner=4.11.1,PROD=AvalonMiner 1126Pro-S-64,MAC=b4a2eb3f0011|"),
        {"hashrate_hs": 66.55956 * TH, "power_w": 3522, "fan_min_rpm": 0, "error_text": "ECMM 0: no fan", "state": "hashing",
         "pool_user": "w.1", "pool_state": "alive", "shares_accepted": 33, "mac": "b4:a2:eb:3f:00:11"},
    ),
    "A1346 at work": (
        reported({"MM ID0": A1346.format(work="In Work", off=0, now="110778.38", supply="0 1199 1391 225 3126 1393 3348")}),
        {"hashrate_hs": 110.77838 * TH, "power_w": 3348, "model": "1346-110", "voltage_v": 13.91},
    ),
    "A1346 sent to sleep": (
        reported({"MM ID0": A1346.format(work="In Idle", off=6, now="0.00", supply=ASLEEP_PS)}),
        {"state": "asleep", "hashrate_hs": 0.0, "power_w": 11, "hashrate_window_s": Absence.NOT_APPLICABLE},
    ),
    "A1346 idle by itself": (
        reported({"MM ID0": A1346.format(work="In Idle", off=0, now="0.00", supply="2 1197 0 0 0 1393 11")}),
        {"state": "fault", "error_text": "Work: In Idle; supply: over hot"},
    ),
    "A1566 by its wall power": (
        reported({"MM ID0": A1126.replace("1126Pro-S-64-21072803", "15-194-24102401").replace("3522]", "3522] WALLPOWER[3731]")}),
        {"model": "15-194", "power_w": 3522},
    ),
    "Nano 3s, whose supply is another's": (
        reported({"MM ID0": NANO}, PROD="Avalon Nano3s", MODEL="Nano3s", summary={"MHS av": "6676358.98", "Elapsed": "10010"}),
        {"hashrate_hs": 6.59884 * TH, "power_w": 133, "power_limit_w": 133, "mode": "high", "temp_inlet_c": Absence.SENTINEL,
         "temp_outlet_c": 65, "temp_chip_max_c": 95, "voltage_v": Absence.NOT_REPORTED, "chips_expected": 12, "state": "hashing"},
    ),
    "Q at work, told in two texts": (
        reported({"MM ID0": Q_PARTS.format(work="In Work"),
              "MM ID0:Summary": "'STATS':{" + Q_REST.format(hot=65, fan=3200, supply="0 1209 2349 55 1306 2350 1364", off=0,
                                                            now="70200.00") + "}", "HBinfo": "'HB0':{PVT_T0[ 58 59]}"},
             PROD="Avalon Q", DNA="0123", LVERSION="25052801_14a19a2"),
        {"hashrate_hs": 70.2 * TH, "power_w": 1364, "mode": "eco", "boards_expected": 1, "voltage_v": 23.49, "temp_inlet_c": 24,
         "temp_outlet_c": 38, "chips_expected": 160, "firmware": "25052801_14a19a2", "serial": "0123"},
    ),
    "Q asleep, its means standing": (
        reported({"MM ID0:Summary": "'STATS':{" + Q_PARTS.format(work="In Idle")
              + Q_REST.format(hot=0, fan=0, supply="0 1216 1 0 0 2243 17", now="0.00", off=4) + "}"}),
        {"state": "asleep", "hashrate_hs": 0.0, "temp_chip_max_c": Absence.SENTINEL, "fan_max_rpm": 0, "power_w": 17,
         "serial": Absence.NOT_REPORTED},
    ),
    "Q by another word": (
        reported({"MM ID0": Q_PARTS.format(work="Off") + Q_REST.format(hot=0, fan=0, supply=ASLEEP_PS, now="0.00", off=2)}),
        {"state": "asleep"},
    ),
    "by the light statistics alone": (
        Play("avalon", {"litestats": reported({"MM ID0": A1126}).table["stats"]}, joins=False), {"hashrate_hs": 66.55956 * TH},
    ),
    "starting": (reported({"MM ID0": A1346.format(work="In Init", off=0, now="0.00", supply="0 1199 1391 0 90 1393 100")},
                      summary={"Elapsed": 9000, "MHS 30s": 0.0}), {"state": "ramping"}),
}  # fmt: skip
