"""The site: `ci/docs.sh` builds it."""

from importlib.metadata import version as version_of

project = "fastbp"
copyright = "the authors of fastbp, MIT licence"
release = version = version_of("fastbp")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]

# Pages are Markdown that reads well without the site, too.
myst_heading_anchors = 3

# Names in `backticks` of docstrings are links.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings have them, in words
autosummary_generate = False
numpydoc_show_class_members = False
# Names of other libraries, which are linked to nothing.
nitpick_ignore_regex = [
    (".*", r"(copy|dask|distributed|keras|numpy|onnx|pyarrow|skl2onnx|sklearn|torch)\..*")
]

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": "",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "min_reported_time": 1e9,
    "doc_module": ("fastbp",),
    "reference_url": {"fastbp": None},
    "write_computation_times": False,
    "capture_repr": (),
    "show_signature": False,
}

html_theme = "furo"
html_title = "fastbp"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False


def read(app, docname, source):
    """In the repository the gallery is a folder of programs, here a page."""
    source[0] = source[0].replace("](../examples/gallery)", "](gallery/index.rst)")


def find_by_end(app, env, node, contnode):
    """`Trainer.fit` links to the one name that ends so, `Trainer.history` to its class.

    A name without a dot may be a parameter: it is none of those that must be found.
    """
    if node.get("refdomain") != "py":
        return None
    domain, target = env.domains.python_domain, node["reftarget"]
    for name in (target, target.rpartition(".")[0]):
        found = domain.find_obj(env, None, None, name, "obj", 1) if name else []
        found = [full for full, entry in found if not entry.aliased]
        if len(found) == 1:
            full = found[0]
            node["refspecific"] = False
            return domain.resolve_xref(
                env, node["refdoc"], app.builder, "obj", full, node, contnode
            )
    return None if "." in target else contnode


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", read)
    app.connect("missing-reference", find_by_end)
