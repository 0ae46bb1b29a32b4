"""Stand-ins for libraries that the package imports and measurements on a GPU do not use."""

import importlib.machinery
import importlib.util
import sys
import types


class Absent(type):
    """The class of every name of a library that is not installed."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(name, (Exception,), {"__init__": lambda self, *_, **__: None})


class AbsentLibraries:
    """Finds libraries that files and settings need and measurements do not, where missing."""

    NAMES = ("safetensors", "tqdm", "tyro", "packaging", "pyarrow", "isal", "xformers")

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.missing:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def __init__(self):
        self.missing = {name for name in self.NAMES if importlib.util.find_spec(name) is None}
        self.missing -= {"isal", "xformers"}  # the package has its own way without them

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: getattr(Absent("absent", (), {}), name)
        return module

    def exec_module(self, module):
        pass


ABSENT = AbsentLibraries()
sys.meta_path.append(ABSENT)
