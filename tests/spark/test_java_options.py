"""The options by which a session's Java runs."""

import pytest


@pytest.mark.parametrize("option", ["UseAdaptiveSizePolicyFootprintGoal", "DontCompileHugeMethods"])
def test_java_is_told_to_leave_a_default_of_its_own(spark, option):
    java = spark._jvm.java.lang.Class.forName("com.sun.management.HotSpotDiagnosticMXBean")
    bean = spark._jvm.java.lang.management.ManagementFactory.getPlatformMXBean(java)
    assert bean.getVMOption(option).getValue() == "false"
