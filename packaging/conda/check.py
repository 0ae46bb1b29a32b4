"""Render recipe.yaml as rattler-build does: python check.py. Needs py-rattler-build."""

from pathlib import Path

from rattler_build import RenderConfig, Stage0Recipe, VariantConfig

recipe = Stage0Recipe.from_file(Path(__file__).parent / "recipe.yaml")
for variant in recipe.render(VariantConfig({"c_stdlib": ["sysroot"]}), RenderConfig()):
    package = variant.recipe.package
    print(package.name, package.version)
