from .local_chat import LocalChatModel as LocalChatModel
