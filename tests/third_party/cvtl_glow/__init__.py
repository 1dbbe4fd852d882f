"""A stranger's plugin: finds one glowing object, as large as the picture. What the tests of the pipeline run."""

from cvtl.registry import PluginSpec

plugin = PluginSpec(
    name="glow",
    task="detect",
    summary="says how much a picture glows",
    options="cvtl_glow.options:GlowOptions",
    model="cvtl_glow.model:GlowModel",
)
