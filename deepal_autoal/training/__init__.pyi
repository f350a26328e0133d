from .trainer import LabeledData as LabeledData
from .trainer import Trainer as Trainer
from .trainer import TrainerProtocol as TrainerProtocol
from .trainer import UnlabeledData as UnlabeledData
