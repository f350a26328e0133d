from .host import PluginHost as PluginHost
from .host import PluginRecord as PluginRecord
from .host import plugin_host as plugin_host
