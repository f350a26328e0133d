from .host import PluginHost as PluginHost
from .host import plugin_host as plugin_host
from .plugin_record import PluginRecord as PluginRecord
